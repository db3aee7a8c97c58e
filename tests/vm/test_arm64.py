"""A guest of another architecture."""

import json
from pathlib import Path

from tests.vm.box import VmBox
from tests.vm.conftest import CACHE
from tests.vm.guest import make_arm64_disk


def test_an_arm64_guest_boots(box: VmBox, tmp_path: Path) -> None:
    """By UEFI, with virtio's devices and a serial console; it hears the power button."""
    recipe = box.recipe("arm", make_arm64_disk(CACHE / "arm64", tmp_path))
    recipe.write_text(f'arch = "arm64"\ndisplay = true\n{recipe.read_text().replace("96MiB", "192MiB")}')
    said = box.vm("create", recipe)
    assert said.startswith("arm runs, emulated: this box's processor is x86_64")
    try:
        assert f"disk {64 * 2**20}, cards eth0" in box.hears("arm", "guest ready")
        (listed,) = map(json.loads, box.vm("list", "--json").splitlines())
        assert box.vm("vnc", "arm").endswith("(mode 0600)\n")
        assert (listed["arch"], listed["state"]) == ("arm64", "running")
        assert box.vm("stop", "arm") == "arm: off\n"
    finally:
        box.vm("kill", "arm")
        box.vm("delete", "arm", "--disks", "--yes")
