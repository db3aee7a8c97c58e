"""What cannot be had is said clearly, and nothing half made is left behind."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.box import VmBox


def _image(path: Path, *arguments: str) -> Path:
    subprocess.run(["qemu-img", "create", "-q", *arguments[:-1], str(path), arguments[-1]], check=True)
    return path


@pytest.fixture
def no_tap() -> Iterator[None]:
    """No network card can be plugged in."""
    subprocess.run(["mount", "--bind", "/dev/null", "/dev/net/tun"], check=True)
    yield
    subprocess.run(["umount", "--lazy", "/dev/net/tun"], check=True)


@pytest.fixture(autouse=True)
def nothing_left(box: VmBox) -> Iterator[None]:
    yield
    assert box.states() == {}
    directory = box.directory / "state" / "vm"
    assert not directory.exists() or list(directory.iterdir()) == []


def test_images_that_are_none_or_more_than_one(box: VmBox, image: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(2**20))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    wrong = {
        "is no file": [tmp_path / "absent", tmp_path, fifo],
        "keeps its content in other files": [
            _image(tmp_path / "backed.qcow2", "-f", "qcow2", "-b", str(secret), "-F", "raw", "1M"),
            _image(tmp_path / "apart.qcow2", "-f", "qcow2", "-o", f"data_file={secret}", "1M"),
            _image(tmp_path / "flat.vmdk", "-f", "vmdk", "-o", "subformat=monolithicFlat", "1M"),
        ],
        "is a disk of 1.02e+04 GiB; the most is": [_image(tmp_path / "huge.qcow2", "-f", "qcow2", "10T")],
        "the disks may grow to 2.05e+03 GiB": [_image(tmp_path / "large.qcow2", "-f", "qcow2", "2T")],
        "of the format vdi": [_image(tmp_path / "a.vdi", "-f", "vdi", "1M")],
    }
    for said, paths in wrong.items():
        for path in paths:
            assert said in box.vm("create", box.recipe("directory", path), fails=True)
    assert box.states() == {}


def test_recipes_that_do_not_fit(box: VmBox, image: Path) -> None:
    recipe = box.recipe("directory", image)
    good = recipe.read_text()
    for before, after, said in (
        ('"directory"', '"<a&b>"', "directory.toml: name: '<a&b>' is not a name"),
        ('"96MiB"', '"900GiB"', "memory: the machine is to have 900 GiB, this box has"),
        ("vcpus = 1", "vcpus = 64", "vcpus: this box has"),
        ('"lan0"', '"lan7"', "networks[0].bridge: there is no bridge lan7"),
        ('"system"', '"system"\nsize = "2MiB"', "disks[0].size: 2 MiB is less than the 24 MiB of"),
    ):
        assert before in good
        recipe.write_text(good.replace(before, after, 1))
        assert said in box.vm("create", recipe, fails=True)
    assert "there is no machine" in box.vm("start", "directory", fails=True)


def test_a_machine_that_cannot_start_is_not_made(box: VmBox, image: Path, no_tap: None) -> None:
    assert "tap device" in box.vm("create", box.recipe("directory", image), fails=True)
