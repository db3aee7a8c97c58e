"""A machine from another hypervisor boots."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.vmhost.archive import OVF, manifest, ova
from tests.vm.box import VmBox, until
from vmhost import images


def _converted(image: Path, path: Path, *options: str) -> Path:
    subprocess.run(["qemu-img", "convert", *options, str(image), str(path)], check=True)
    return path


def test_an_ova_boots(box: VmBox, image: Path, tmp_path: Path) -> None:
    disk = _converted(
        image, tmp_path / "dc.vmdk", "-O", "vmdk", "-o", "subformat=streamOptimized"
    ).read_bytes()
    described = OVF.replace("2048", "96").replace("<r:VirtualQuantity>2<", "<r:VirtualQuantity>1<")
    files = {"dc.ovf": described.encode(), "dc.mf": manifest(described, disk), "dc.vmdk": disk}
    archive = ova(tmp_path, files)
    said = json.loads(box.run("unpack", archive, tmp_path / "first", "--json"))
    assert (said["verified"], said["unmapped"]) == (True, ["Sound"])
    assert Path(said["recipe"]).parent == tmp_path / "first"
    recipe = tmp_path / "made" / "dc-01-z-rich.toml"
    said = box.run("unpack", archive, recipe.parent)
    assert said == f"recipe: {recipe}\nleft out: Sound\n"
    box.vm("create", recipe)
    assert f"disk {24 * 2**20}, cards lo" in box.hears("dc-01-z-rich", "guest ready")
    box.vm("kill", "dc-01-z-rich")
    box.vm("delete", "dc-01-z-rich", "--disks", "--yes")


@pytest.mark.parametrize("kind", ["raw", "qcow2", "vhdx", "vmdk"])
def test_a_copy_is_the_same_and_may_be_larger(image: Path, tmp_path: Path, kind: str) -> None:
    source, target, told = _converted(image, tmp_path / "source", "-O", kind), tmp_path / "target", [0.0]

    async def copied() -> None:
        found = await images.look(source)
        assert (found.format, found.virtual_size) == (kind, 24 * 2**20)
        await images.copy(found, target, 32 * 2**20, lambda done: told.append(done / found.virtual_size))

    asyncio.run(copied())
    subprocess.run(["qemu-img", "compare", "-q", str(image), str(target)], check=True)
    assert asyncio.run(images.look(target)).virtual_size == 32 * 2**20
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_a_copy_that_a_crash_cuts_off_goes_on(box: VmBox, image: Path, tmp_path: Path, began: float) -> None:
    """The source is a guest with half a GiB of data behind its first GiB, which is the first piece of a copy."""
    large = tmp_path / "large,=.img"
    large.write_bytes(image.read_bytes())
    data = os.urandom(2**24)
    with large.open("r+b") as file:
        file.seek(2**30)
        for _ in range(32):
            file.write(data)
    recipe = box.recipe("directory", large)
    disk = box.directory / "state" / "vm" / "directory" / "system.qcow2"
    making = box.begin("create", recipe)
    until(lambda: b'"system":1073741824' in _mark(disk), "the first piece is copied")
    box.stop_child("qemu-img", "convert")
    assert box.states() == {"directory": "being made"}
    inode = disk.stat().st_ino
    box.kill_control()
    assert making.wait() == 1
    box.start_control()
    until(lambda: "vm.half_made" in box.kinds(began), "what was left is told")
    assert box.states() == {"directory": "half made"}
    assert box.vm("create", recipe).startswith("directory runs")
    assert disk.stat().st_ino == inode
    assert "disk" in box.hears("directory", "guest ready")
    box.vm("kill", "directory")
    subprocess.run(["qemu-img", "compare", "-q", "-f", "raw", str(large), str(disk)], check=True)
    box.vm("delete", "directory", "--disks", "--yes")


def test_a_machine_that_is_half_made_can_be_dropped(box: VmBox, tmp_path: Path) -> None:
    large = tmp_path / "large.img"
    large.write_bytes(os.urandom(2**24) * 32)
    making = box.begin("create", box.recipe("directory", large))
    box.stop_child("qemu-img", "convert")
    box.kill_control()
    assert making.wait() == 1
    box.start_control()
    box.vm("delete", "directory", "--yes")
    assert box.states() == {}
    assert list((box.directory / "state" / "vm").iterdir()) == []


def _mark(disk: Path) -> bytes:
    try:
        return (disk.parent / ".incomplete").read_bytes()
    except FileNotFoundError:
        return b""


def test_a_windows_guest_has_firmware_and_devices_that_it_knows(box: VmBox, tmp_path: Path) -> None:
    """There is no Windows here: what is seen is that libvirt and QEMU take them."""
    disk = tmp_path / "windows.vhdx"
    subprocess.run(["qemu-img", "create", "-q", "-f", "vhdx", disk, "64M"], check=True)
    recipe = box.recipe("windows", disk)
    text = 'kind = "windows"\ndevices = "standard"\nfirmware = "secure-boot"\ndisplay = true\n'
    recipe.write_text(text + recipe.read_text())
    box.vm("create", recipe)
    try:
        command = Path(f"/proc/{box.emulator('windows')}/cmdline").read_text()
        for wanted in ("ide-hd", "e1000e", "base=localtime", "OVMF_CODE_4M.ms.fd", "smm=on"):
            assert wanted in command
    finally:
        box.vm("kill", "windows")
        box.vm("delete", "windows", "--disks", "--yes")
