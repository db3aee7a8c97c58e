"""A machine from another hypervisor boots."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from tests.unit.vmhost.archive import OVF, manifest, ova
from tests.vm.box import VmBox
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


@pytest.mark.parametrize("kind", ["raw", "qcow2", "vhdx"])
def test_a_copy_is_the_same_and_may_be_larger(image: Path, tmp_path: Path, kind: str) -> None:
    source, target, told = _converted(image, tmp_path / "source", "-O", kind), tmp_path / "target", [0.0]

    async def copied() -> None:
        found = await images.look(source)
        assert (found.format, found.virtual_size) == (kind, 24 * 2**20)
        await images.copy(found, target, 32 * 2**20, told.append)

    asyncio.run(copied())
    subprocess.run(["qemu-img", "compare", "-q", str(image), str(target)], check=True)
    assert asyncio.run(images.look(target)).virtual_size == 32 * 2**20
    assert told == sorted(told)
    assert told[-1] == 1.0
