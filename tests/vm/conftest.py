"""Fixtures of the tests with virtual machines.

pytest runs itself again in namespaces of its own (pid, network, mount), so that the libvirtd, the guests and the
bridges of the tests touch nothing of the machine and end with pytest, however that ends.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.box import BRIDGE, VmBox
from tests.vm.centre import Centre
from tests.vm.guest import kernel, make_disk

CACHE = Path(__file__).parents[2] / ".cache" / "vm"
_INSIDE = "BRANCHLINE_VM_TESTS"
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
cgroup_controllers = []
"""
_LIBVIRTD_CONF = """
auth_unix_rw = "none"
log_outputs = "3:stderr"
"""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    if _INSIDE in os.environ:
        return
    if os.geteuid() != 0:
        pytest.exit("tests/vm: left out, libvirtd needs root", returncode=pytest.ExitCode.OK)
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    again = [sys.executable, *sys.orig_argv[1:]]
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--mount"]
    # A shell as pid 1 buries the dead: libvirtd waits for processes that are nobody's children any more.
    shell = ["sh", "-c", '"$@"; exit $?', "sh"]
    os.execvpe("unshare", [*unshare, *shell, *again], {**os.environ, _INSIDE: "1"})


@pytest.fixture(scope="session")
def furnished() -> None:
    """The namespaces have what libvirtd needs, and nothing of the machine's own libvirt."""
    for path in _OWN:
        Path(path).mkdir(parents=True, exist_ok=True)
        _do("mount", "-t", "tmpfs", "tmpfs", path)
    _do("mount", "-t", "tmpfs", "tmpfs", "/run")
    for file, line in _ACCOUNTS.items():
        own = Path("/run", Path(file).name)
        own.write_text(f"{Path(file).read_text().rstrip()}\n{line}\n")
        _do("mount", "--bind", str(own), file)
    _do("mount", "-t", "sysfs", "sysfs", "/sys")
    _hide_kvm()
    _do("ip", "link", "set", "lo", "up")
    for name in (BRIDGE, "wan0"):
        _do("ip", "link", "add", name, "type", "bridge")
        _do("ip", "link", "set", name, "up")
    _do("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
    for address in ("10.1.0.1/16", "fd00:1::1/64"):
        _do("ip", "address", "add", address, "dev", BRIDGE)
    Path("/etc/libvirt/qemu.conf").write_text(_QEMU_CONF)
    Path("/etc/libvirt/libvirtd.conf").write_text(_LIBVIRTD_CONF)


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


@pytest.fixture(scope="session")
def vmlinuz() -> Path:
    """A kernel for guests."""
    return kernel(CACHE)


@pytest.fixture(scope="session")
def image(vmlinuz: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny guest's disk."""
    return make_disk(vmlinuz, tmp_path_factory.mktemp("guest"))


@pytest.fixture(scope="session")
def box(furnished: None) -> Iterator[VmBox]:
    """A running box. Leave no machine behind."""
    with tempfile.TemporaryDirectory(prefix="bl-vm-") as directory:
        box = VmBox(Path(directory))
        try:
            box.start_libvirtd()
            box.start_control()
            yield box
        finally:
            for log in sorted(box.directory.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text()}")


@pytest.fixture(scope="session")
def provisioned(furnished: None) -> Iterator[Path]:
    """What a controller of the centre has before its first start, for `Centre.adopt`."""
    with tempfile.TemporaryDirectory(prefix="provisioned-", dir="/run") as directory:
        made = Centre(Path(directory))
        try:
            made.provision()
        finally:
            made.close()
        yield Path(directory)


@pytest.fixture(scope="session")
def centre(provisioned: Path) -> Iterator[Centre]:
    """The centre's controller, serving. Leave it as it was."""
    with tempfile.TemporaryDirectory(prefix="centre-", dir="/run") as directory:
        centre = Centre(Path(directory))
        try:
            centre.adopt(provisioned)
            centre.start()
            yield centre
        finally:
            centre.close()
            print(f"--- samba.log\n{centre.log()}")


@pytest.fixture
def began() -> float:
    """When the test began, for `VmBox.kinds`."""
    return time.time()


@pytest.fixture
def guest(box: VmBox, image: Path) -> Iterator[str]:
    """The name of a machine that runs, marked for autostart; it is gone after the test."""
    box.vm("create", box.recipe("directory", image, autostart=True, stop_within="4s"))
    try:
        yield "directory"
    finally:
        box.vm("kill", "directory")
        box.vm("delete", "directory", "--disks", "--yes")
