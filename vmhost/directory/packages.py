"""Which Debian packages the directory's system is made of, and how they are installed into a tree."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vmhost.errors import VmError
from vmhost.recipe import Arch

KERNEL_DIRECTORY = "boot"
"""In the tree: where the kernel's package lies, which is not installed."""

_ARCHES = {"x86-64": ("amd64", "linux-image-cloud-amd64"), "arm64": ("arm64", "linux-image-cloud-arm64")}
_PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "dbus", "iproute2", "e2fsprogs", "busybox-static"),
    *("samba", "samba-ad-provision", "samba-dsdb-modules", "samba-vfs-modules", "winbind"),
    *("python3-samba", "smbclient", "krb5-user", "ldb-tools", "bind9-dnsutils"),
    *("chrony", "qemu-guest-agent"),
)
_LEFT_OUT = ("doc", "man", "locale", "info", "i18n", "lintian", "bash-completion")  # of /usr/share
_TARGETS = "$(ORIGIN)\t$(CODENAME)\t$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)"
_SETTING = re.compile(r'(Acquire::[^" ]+[^: ]) "([^"]+)";')

Say = Callable[[str], None]


@dataclass(frozen=True)
class Choice:
    """What is to be installed: of `release`, from `sources` (apt's one-line format)."""

    arch: Arch
    release: str
    sources: tuple[str, ...]
    packages: tuple[str, ...] = _PACKAGES
    left_out: tuple[str, ...] = _LEFT_OUT

    @property
    def digest(self) -> str:
        """Of all of it."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()


def choose(arch: Arch) -> Choice:
    """From where this machine's own apt has its packages, of the release that it runs."""
    release = _release(Path("/etc/os-release").read_text())
    targets = _output("apt-get", "indextargets", "--format", _TARGETS, "Created-By: Packages")
    found = sources(targets, release)
    if not found:
        raise VmError(
            "refused",
            f"apt knows no packages of Debian {release or '(which?)'}; run this on Debian, after `apt-get update`",
        )
    return Choice(arch, release, found)


def must_run(arch: Arch) -> None:
    """VmError if this machine cannot run what installing packages of `arch` runs."""
    debian, _ = _ARCHES[arch]
    if debian == _output("dpkg", "--print-architecture").strip():
        return
    if shutil.which("arch-test") is None:
        raise VmError("refused", f"arch-test is not installed, for {arch}; install the package arch-test")
    if subprocess.run(["arch-test", debian], capture_output=True, check=False).returncode != 0:
        raise VmError(
            "refused",
            f"this machine cannot run programs for {arch}; install qemu-user-static and binfmt-support, "
            f"or build on one that is {arch}",
        )


def sources(targets: str, release: str) -> tuple[str, ...]:
    """apt's lines for a Debian release, its updates and its security updates, of what apt says it has. Pure."""
    lines = set()
    for line in targets.splitlines():
        origin, codename, uri, suite, component = line.split("\t")
        if origin == "Debian" and codename.partition("-")[0] == release:
            lines.add(f"deb {uri} {suite} {component}")
    return tuple(sorted(lines))


def settings(dump: str) -> list[str]:
    """How this machine reaches its archive (proxies and the like), of `apt-config dump`. Pure."""
    return [
        f'{name} "{value}"'
        for name, value in _SETTING.findall(dump)
        if not name.startswith(("Acquire::IndexTargets", "Acquire::Changelogs", "Acquire::CompressionTypes"))
    ]


def installed(choice: Choice, archive: Path, say: Say) -> Path:
    """All of it installed into a tree, as the tar file `archive`; what is there is taken if it was chosen so.

    `say` is told what is being done.
    """
    mark = archive.with_name(f"{archive.name}.made-of")
    if archive.exists() and mark.exists() and mark.read_text() == choice.digest:
        return archive
    mark.unlink(missing_ok=True)
    _install(choice, archive, say)
    mark.write_text(choice.digest)
    return archive


def _install(choice: Choice, archive: Path, say: Say) -> None:
    debian, kernel = _ARCHES[choice.arch]
    fetch = (
        f'cd "$1/{KERNEL_DIRECTORY}" && export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" && apt-get -qq download '
        f"$(apt-cache depends {kernel} | sed -n 's/.*Depends: //p')"
    )
    command = [
        "mmdebstrap",
        "--mode=root",
        "--variant=essential",
        "--format=tar",
        f"--architectures={debian}",
    ]
    command += [f"--aptopt={one}" for one in settings(_output("apt-config", "dump"))]
    command += ['--aptopt=APT::Install-Recommends "false"', '--aptopt=Acquire::Languages "none"']
    command += ["--dpkgopt=force-unsafe-io"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in choice.left_out]
    command += [f"--include={','.join(choice.packages)}", f"--customize-hook={fetch}"]
    half = archive.with_name(f"{archive.name}.half")
    command += [choice.release, str(half), *choice.sources]
    try:
        _run(command, say)
        half.rename(archive)
    finally:
        half.unlink(missing_ok=True)


def versions(status: str) -> dict[str, str]:
    """Version by package, of dpkg's status file. Pure."""
    found = {}
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if re.match(r"[A-Z]\S*: ", line))
        if fields.get("Status") == "install ok installed":
            found[fields["Package"]] = fields["Version"]
    return dict(sorted(found.items()))


def _release(text: str) -> str:
    found = re.search(r'^VERSION_CODENAME="?([a-z]+)"?$', text, re.MULTILINE)
    return found[1] if found else ""


def _run(command: Sequence[str], say: Say) -> None:
    """VmError with the last lines that it said if it fails."""
    last: list[str] = []
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("I: "):
                say(line[3:].strip().rstrip("."))
            last = [*last[-9:], line.rstrip()]
    if process.returncode != 0:
        raise VmError("failed", f"{command[0]} failed: " + " | ".join(last))


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise VmError("refused", f"{command[0]} is not installed; run this on Debian") from None
    except subprocess.CalledProcessError as error:
        raise VmError("failed", f"{command[0]} failed: {error.stderr.strip()}") from None
