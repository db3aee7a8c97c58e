"""Which firmware is there for a guest."""

import json
from pathlib import Path

import pytest

from vmhost.firmware import missing
from vmhost.recipe import Arch, Firmware


@pytest.mark.parametrize(
    ("arch", "wanted", "package"),
    [
        ("x86-64", "bios", ""),
        ("x86-64", "uefi", ""),
        ("x86-64", "secure-boot", "ovmf"),
        ("arm64", "uefi", "qemu-efi-aarch64"),
    ],
)
def test_what_is_missing(tmp_path: Path, arch: Arch, wanted: Firmware, package: str) -> None:
    """Where there is a UEFI for x86-64 with none of Microsoft's keys in it."""
    description = {"targets": [{"architecture": "x86_64"}], "features": ["acpi-s3", "secure-boot"]}
    (tmp_path / "60-edk2.json").write_text(json.dumps(description))
    said = missing(arch, wanted, tmp_path)
    assert said.endswith(f"install the package {package}") if package else not said
