"""What a box can do is what has been seen to work."""

import asyncio
import json
import shutil
from pathlib import Path

from tests.vm.box import VmBox
from vmhost.selftest import boots


def test_only_a_guest_that_boots_is_a_proof(vmlinuz: Path, tmp_path: Path) -> None:
    emulator = shutil.which("qemu-system-x86_64")
    assert emulator is not None
    assert asyncio.run(boots(emulator, "tcg", vmlinuz, within=90.0)).works
    no_kernel = tmp_path / "vmlinuz"
    no_kernel.write_bytes(bytes(2**16))
    hung = asyncio.run(boots(emulator, "tcg", no_kernel, within=1.0))
    assert not hung.works
    assert hung.why.startswith("a guest did not boot")
    absent = asyncio.run(boots(emulator, "tcg", tmp_path / "absent"))
    assert "could not open kernel file" in absent.why


def test_a_host_says_why_its_guests_are_slow(box: VmBox) -> None:
    said = json.loads(box.vm("host", "--json"))
    assert said["libvirt"]["up"]
    assert said["guests"]["x86-64"]["accelerator"] == "tcg"
    assert said["guests"]["x86-64"]["why"].startswith("there is no /dev/kvm")
    assert said["guests"]["arm64"]["accelerator"] == "tcg"
    text = box.vm("host")
    assert "x86-64      guests are emulated, many times slower (TCG): there is no /dev/kvm" in text
    assert "arm64       guests are emulated, many times slower (TCG): this box's processor is x86_64" in text
