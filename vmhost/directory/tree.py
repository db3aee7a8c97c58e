"""The directory's system as a tree of files: what comes to the packages, and what of them is not needed."""

from __future__ import annotations

import shutil
from pathlib import Path

from vmhost.directory.modules import modules

GUEST = Path(__file__).parent / "guest"
LIBRARY = "usr/lib/branchline"

_REMOVED = (
    "boot/*",
    # What the daemons do not run: debconf and dpkg, Samba's own tests, the hardware database of real machines.
    *("usr/share/perl", "usr/share/perl5", "usr/lib/*/perl", "usr/lib/*/perl-base", "usr/bin/perl*"),
    *("usr/lib/python3/dist-packages/samba/tests", "usr/lib/udev/hwdb.*", "usr/lib/python3*/ensurepip"),
    *("var/lib/dpkg", "var/lib/apt", "var/cache/apt", "var/cache/debconf", "var/lib/ucf", "var/log/*"),
    *("etc/resolv.conf", "etc/hostname", "etc/hosts", "etc/krb5.conf", "etc/machine-id", "etc/.pwd.lock"),
    *("etc/samba/*", "etc/chrony/*", "etc/ssh", "run/*", "tmp/*"),
    "etc/systemd/system/*.wants",
)
_DIRECTORIES = ("data", "proc", "sys", "dev", "etc/chrony/sources.d", "etc/systemd/network", "var/log/samba")
_LINKED = ("resolv.conf", "hostname", "hosts", "krb5.conf")  # of /etc, to the data disk
_STARTED = (
    *(
        "branchline-status.service",
        "branchline-machine.service",
        "branchline-join.service",
        "branchline-tend.timer",
    ),
    *("systemd-networkd.service", "chrony.service", "samba-ad-dc.service"),
)
_MASKED = (
    *("smbd", "nmbd", "winbind", "getty@tty1", "systemd-networkd-wait-online", "systemd-firstboot"),
    # They keep files up to date with /usr that an image brings.
    *(
        "systemd-hwdb-update",
        "systemd-journal-catalog-update",
        "systemd-update-done",
        "systemd-sysusers",
        "ldconfig",
    ),
)
_JOURNAL = "[Journal]\nStorage=persistent\nSystemMaxUse=64M\n"


def furnish(root: Path) -> None:
    """Make of Debian's tree at `root` the directory's system."""
    for pattern in _REMOVED:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for name in _DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in _LINKED:
        (root / "etc" / name).symlink_to(f"/data/etc/{name}")
    clock = root / "usr/sbin/hwclock"  # without it the agent sets no clock
    if not clock.exists():  # Debian 13 has it in a package that is not essential
        clock.symlink_to("/bin/busybox")
    (root / "etc/machine-id").touch()
    (root / "etc/fstab").write_text("")
    shutil.copyfile(GUEST / "chrony.conf", root / "etc/chrony/chrony.conf")
    journal = root / "etc/systemd/journald.conf.d/branchline.conf"
    journal.parent.mkdir(parents=True, exist_ok=True)
    journal.write_text(_JOURNAL)
    _units(root / "etc/systemd/system")
    _programs(root / LIBRARY)


def _units(directory: Path) -> None:
    shutil.copytree(GUEST / "units", directory, dirs_exist_ok=True)
    wanted = directory / "multi-user.target.wants"
    wanted.mkdir()
    for name in _STARTED:
        own = (directory / name).exists()
        (wanted / name).symlink_to(f"{'/etc' if own else '/lib'}/systemd/system/{name}")
    for name in _MASKED:
        unit = directory / f"{name}.service"
        unit.unlink(missing_ok=True)
        unit.symlink_to("/dev/null")


def _programs(library: Path) -> None:
    package = library / "vmhost" / "directory" / "guest"
    package.mkdir(parents=True)
    for parent in (package, *package.parents[:2]):
        (parent / "__init__.py").touch()
    for source in GUEST.glob("*.py"):
        shutil.copyfile(source, package / source.name)
    shutil.copyfile(GUEST / "kept", library / "kept")


def boot_files(root: Path, kernel: Path) -> dict[str, bytes]:
    """Of the initrd: from the system's tree and the unpacked package of the kernel."""
    found = modules(kernel)
    return {
        "init": (GUEST / "init").read_bytes(),
        "bin/busybox": (root / "bin/busybox").read_bytes(),
        "modules/order": "".join(f"{name}\n" for name in found).encode(),
        **{f"modules/{name}": content for name, content in found.items()},
    }
