"""Fixtures of the tests with virtual machines.

pytest runs itself again in namespaces of its own (namespaces.py).
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm import namespaces
from tests.vm.box import BRIDGE, VmBox
from tests.vm.centre import BRANCH, Centre
from tests.vm.guest import agent, kernel, make_disk

CACHE = Path(__file__).parents[2] / ".cache" / "vm"
PATIENCE_S = 900.0  # with a test


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--restored",
        action="store_true",
        help="real directories are also backed up, go back and are made again, and other roles made: 25 minutes more",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    if namespaces.inside():
        return
    if os.geteuid() != 0:
        pytest.exit("tests/vm: left out, libvirtd needs root", returncode=pytest.ExitCode.OK)
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    namespaces.enter(namespaces.again())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Emulated guests on a busy machine need their time."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(PATIENCE_S))


@pytest.fixture(scope="session")
def furnished() -> None:
    """The namespaces have what libvirtd needs."""
    namespaces.furnish((BRIDGE, "wan0"))
    for address in ("10.1.0.1/16", "fd00:1::1/64"):
        subprocess.run(["ip", "address", "add", address, "dev", BRIDGE], check=True)


@pytest.fixture(scope="session")
def vmlinuz() -> Path:
    """A kernel for guests."""
    return kernel(CACHE)


@pytest.fixture(scope="session")
def image_with_agent(vmlinuz: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny guest's disk, with a guest agent on it."""
    return make_disk(vmlinuz, tmp_path_factory.mktemp("guest-with-agent"), agent(CACHE))


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
            box.must_be_small()
        finally:
            box.close()
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


@pytest.fixture(scope="module")
def branch(centre: Centre) -> Iterator[Centre]:
    """A second controller, of the branch, that has joined the centre's domain. Leave it as it was."""
    with tempfile.TemporaryDirectory(prefix="branch-", dir="/run") as directory:
        branch = Centre(Path(directory), BRANCH)
        try:
            branch.join(centre)
            branch.copy_sysvol(centre)
            branch.start()
            yield branch
        finally:
            branch.close()
            print(f"--- samba.log\n{branch.log()}")
            centre.tool("domain", "demote", f"--remove-other-dead-server={BRANCH.name}")


@pytest.fixture
def group(centre: Centre) -> str:
    """Whose passwords the branch keeps; alice is in it, by way of another group, bob and carol are not."""
    if "branch-1" not in centre.tool("group", "list"):
        centre.tool("group", "add", "branch-1")
        centre.tool("group", "add", "inner")
        for user in ("alice-1", "bob-1", "carol-1"):
            centre.add_user(user, "Wonderland-1")
        centre.tool("group", "addmembers", "inner", "alice-1")
        centre.tool("group", "addmembers", "branch-1", "inner")
    return "branch-1"


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
