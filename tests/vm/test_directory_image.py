"""The directory's real system, of Debian's packages: what it does with the disks that it is given."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm.box import BRIDGE, SOCKET, VmBox
from tests.vm.image import build
from vmhost import calls
from vmhost.directory.hearing import Status, hear

MADE = 1_767_225_600  # 2026-01-01
PATIENCE_S = 600.0

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def system(box: VmBox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle as it is built."""
    return build(tmp_path_factory.mktemp("bundle") / "dc-1", box.build_key, MADE)


@contextlib.contextmanager
def _machine(box: VmBox, directory: Path, system: Path, data: str) -> Iterator[str]:
    recipe = directory / "dc.toml"
    recipe.write_text(
        f'name = "dc"\nmemory = "640MiB"\nstop_within = "5min"\nbundle = "{system}"\n'
        f'[[disks]]\nname = "data"\n{data}\n[[networks]]\nbridge = "{BRIDGE}"\n'
    )
    box.vm("create", recipe)
    try:
        yield "dc"
    finally:
        box.vm("kill", "dc")
        box.vm("delete", "dc", "--disks", "--yes")


def _domain(call: Any, *arguments: object) -> Any:
    """What one of vmhost.calls says of the machine."""
    import libvirt

    with contextlib.closing(libvirt.open(f"qemu+unix:///system?socket={SOCKET}")) as connection:
        return call(connection, "dc", *arguments)


def _heard() -> Status:
    """The first thing the machine says that is the end."""

    async def listen() -> Status:
        async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(hear(_domain(calls.status))) as said:
            async for last in said:
                if last.done or last.error is not None:
                    return last
        raise AssertionError("the machine has ended")

    return asyncio.run(listen())


def test_a_disk_of_somebody_else_is_not_touched(box: VmBox, system: Path, tmp_path: Path) -> None:
    data = tmp_path / "theirs.img"
    data.write_bytes(os.urandom(2**20) + bytes(2**24))
    with _machine(box, tmp_path, system, f'image = "{data}"'):
        assert "holds something that is not ours" in str(_heard().error)
        box.vm("kill", "dc")
        kept = box.directory / "state" / "vm" / "dc" / "data.qcow2"
        subprocess.run(["qemu-img", "compare", "-q", data, kept], check=True)


def test_an_empty_disk_is_formatted(box: VmBox, system: Path, tmp_path: Path) -> None:
    with _machine(box, tmp_path, system, 'size = "64MiB"'):
        wrong = "the machine has not joined a domain, and there is no seed that says which"
        assert _heard().error == wrong
        box.vm("kill", "dc")
        raw = tmp_path / "data.raw"
        kept = box.directory / "state" / "vm" / "dc" / "data.qcow2"
        subprocess.run(["qemu-img", "convert", "-O", "raw", kept, raw], check=True)
        label = subprocess.run(["blkid", "-p", "-o", "value", "-s", "LABEL", raw], capture_output=True)
        assert label.stdout == b"bl-data\n"
