"""Makes a bundle, on a build host: `branchline vm build directory`. As root, for a minute or a few."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vmhost.directory import bundle, packages, signing, tree
from vmhost.directory.initrd import initrd
from vmhost.errors import VmError
from vmhost.recipe import Arch

_TOOLS = {"mmdebstrap": "mmdebstrap", "mksquashfs": "squashfs-tools", "dpkg-deb": "dpkg", "tar": "tar"}
_CONSOLES = {"x86-64": "ttyS0", "arm64": "ttyAMA0"}
_STEPS = (
    "installing packages",
    "unpacking them",
    "adding what is ours",
    "packing the system disk",
    "signing",
)

Progress = Callable[[str, float], None]


def build(target: Path, key: Path, arch: Arch, base: Path | None, progress: Progress) -> bundle.Manifest:
    """Make the bundle `target`, a new directory, signed with the private key in the file `key`.

    `base` is where the installed packages are kept, and taken from if they were chosen in the same way; they are
    fetched anew if it is None. `progress` is told what is being done, and the fraction done. VmError, and nothing is
    left, if it cannot be made. SOURCE_DATE_EPOCH is the time that is written into it.
    """
    _check(target, key)
    packages.must_run(arch)
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    choice = packages.choose(arch)
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=target.parent) as name:
        work = Path(name)
        made = work / "bundle"
        made.mkdir()

        def step(number: int, detail: str = "") -> None:
            text = f"{_STEPS[number]}: {detail}" if detail else _STEPS[number]
            progress(text, number / len(_STEPS))

        step(0)
        archive = packages.installed(choice, base or work / "base.tar", lambda detail: step(0, detail))
        step(1)
        root = work / "root"
        root.mkdir()
        _run("tar", "-C", str(root), "--numeric-owner", "-xpf", str(archive))
        (package,) = root.glob(f"{packages.KERNEL_DIRECTORY}/linux-image-*.deb")
        kernel = work / "kernel"
        _run("dpkg-deb", "-x", str(package), str(kernel))
        names = packages.versions((root / "var/lib/dpkg/status").read_text())
        image, version, _ = package.name.split("_")
        step(2)
        tree.furnish(root)
        _compile(root)
        (vmlinuz,) = kernel.glob("boot/vmlinuz-*")
        shutil.copyfile(vmlinuz, made / "vmlinuz")
        (made / "initrd").write_bytes(initrd(tree.boot_files(root, kernel)))
        step(3)
        _run(
            *("mksquashfs", str(root), str(made / "system"), "-noappend", "-quiet", "-no-progress"),
            *("-no-xattrs", "-comp", "zstd", "-Xcompression-level", "3"),
            epoch=epoch,
        )
        step(4)
        manifest = bundle.Manifest(
            version=time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(epoch)),
            arch=arch,
            debian=choice.release,
            kernel_arguments=f"console={_CONSOLES[arch]} quiet panic=-1 net.ifnames=0",
            packages={**names, image: version.replace("%3a", ":")},
            files={name: bundle.measure(made / name) for name in bundle.FILES},
        )
        bundle.write(made, manifest, key)
        made.rename(target)
    progress("done", 1.0)
    return manifest


def _compile(root: Path) -> None:
    """Bytecode that counts whatever the dates of the files, which SOURCE_DATE_EPOCH changes.

    The system disk is never written: Python would compile again at each start, which an emulated guest feels.
    """
    libraries = [f"/{path.relative_to(root)}" for path in root.glob("usr/lib/python3*")]
    command = ["chroot", str(root), "python3", "-m", "compileall", "-q", "-f"]
    _run(*command, "--invalidation-mode", "unchecked-hash", *sorted(libraries), f"/{tree.LIBRARY}")


def _check(target: Path, key: Path) -> None:
    if os.geteuid() != 0:
        raise VmError("refused", "Debian's packages are installed as root; run this as root")
    for program, package in _TOOLS.items():
        if shutil.which(program) is None:
            raise VmError("refused", f"{program} is not installed; install the package {package}")
    if target.exists():
        raise VmError("refused", f"{target} is there already; name a new directory")
    if not target.parent.is_dir():
        raise VmError("refused", f"{target.parent} is no directory; make it first")
    signing.public(key)


def _run(*command: str, epoch: int | None = None) -> None:
    environment = {**os.environ, **({"SOURCE_DATE_EPOCH": str(epoch)} if epoch is not None else {})}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode != 0:
        raise VmError("failed", f"{command[0]} failed: {done.stderr.strip()[-500:]}")
