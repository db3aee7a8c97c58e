"""Namespaces of their own for what runs virtual machines: nothing of the machine's libvirt, bridges, processes or
control groups is touched, and everything ends with the program that runs in them.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_INSIDE = "BRANCHLINE_VM_TESTS"
_CPU = Path("/sys/fs/cgroup/cpu")
# A shell as pid 1 buries the dead: libvirtd waits for processes that are nobody's children any more.
_ENTER = """
unshare --pid --fork --kill-child --mount-proc --net --mount sh -c '"$@"; exit $?' sh "$@"
"""
# The group of all of it is the root that libvirt sees.
_ENTER_WITH_GROUP = """
trap : INT TERM
group=$0/branchline-vm-$$
mkdir "$group" && echo $$ >"$group/tasks" || exit 1
unshare --cgroup --pid --fork --kill-child --mount-proc --net --mount sh -c '"$@"; exit $?' sh "$@"
status=$?
echo $$ >"$0/tasks"
find "$group" -depth -type d -exec rmdir {} ";"
exit $status
"""
_OWN = ("/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "net/tun")
# libvirt-daemon-system would make it; libvirtd does not start without, though nothing runs as that user here.
_ACCOUNTS = {
    "/etc/passwd": "libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin",
    "/etc/group": "libvirt-qemu:x:64055:",
}
_QEMU_CONF = """
user = "root"
group = "root"
remember_owner = 0
security_driver = "none"
stdio_handler = "file"
namespaces = []
cgroup_controllers = [{controllers}]
"""
_LIBVIRTD_CONF = """
auth_unix_rw = "none"
log_outputs = "3:stderr"
"""


def inside() -> bool:
    """Whether `enter` has been called by an ancestor."""
    return _INSIDE in os.environ


def enter(command: Sequence[str]) -> None:
    """Become `command` in new namespaces, with a control group of its own where the kernel has those of version 1."""
    script, name = (_ENTER_WITH_GROUP, str(_CPU)) if (_CPU / "tasks").exists() else (_ENTER, "sh")
    os.execvpe("sh", ["sh", "-c", script, name, *command], {**os.environ, _INSIDE: "1"})


def furnish(bridges: Sequence[str]) -> None:
    """Give the namespaces what libvirtd needs, and these bridges."""
    for path in _OWN:
        Path(path).mkdir(parents=True, exist_ok=True)
        _do("mount", "-t", "tmpfs", "tmpfs", path)
    _do("mount", "-t", "tmpfs", "tmpfs", "/run")
    for file, line in _ACCOUNTS.items():
        own = Path("/run", Path(file).name)
        own.write_text(f"{Path(file).read_text().rstrip()}\n{line}\n")
        _do("mount", "--bind", str(own), file)
    groups = (_CPU / "tasks").exists()
    _do("mount", "-t", "sysfs", "sysfs", "/sys")
    if groups:
        _do("mount", "-t", "tmpfs", "tmpfs", str(_CPU.parent))
        _CPU.mkdir()
        _do("mount", "-t", "cgroup", "-o", "cpu", "cgroup", str(_CPU))
    _hide_kvm()
    _do("ip", "link", "set", "lo", "up")
    for name in bridges:
        _do("ip", "link", "add", name, "type", "bridge")
        _do("ip", "link", "set", name, "up")
    _do("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
    controllers = '"cpu"' if groups else ""
    Path("/etc/libvirt/qemu.conf").write_text(_QEMU_CONF.format(controllers=controllers))
    Path("/etc/libvirt/libvirtd.conf").write_text(_LIBVIRTD_CONF)


def again() -> list[str]:
    """This very command."""
    return [sys.executable, *sys.orig_argv[1:]]


def _hide_kvm() -> None:
    """A /dev without /dev/kvm: where that is offered and does not work, libvirt's probes take a minute."""
    new = Path("/run/dev")
    new.mkdir()
    _do("mount", "-t", "tmpfs", "tmpfs", str(new))
    for name in _DEVICES:
        if Path("/dev", name).exists():
            (new / name).parent.mkdir(exist_ok=True)
            (new / name).touch()
            _do("mount", "--bind", f"/dev/{name}", f"{new}/{name}")
    for name in ("pts", "shm"):
        (new / name).mkdir()
        _do("mount", "--rbind", f"/dev/{name}", f"{new}/{name}")
    (new / "ptmx").symlink_to("pts/ptmx")
    _do("mount", "--move", str(new), "/dev")


def _do(*command: str) -> None:
    subprocess.run(command, check=True)
