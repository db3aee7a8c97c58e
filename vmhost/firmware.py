"""Which firmware this box has for guests: QEMU's packages describe each (docs/interop/firmware.json of QEMU)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vmhost.recipe import Arch, Firmware

_DESCRIPTIONS = Path("/usr/share/qemu/firmware")
_NAMES = {"x86-64": ("x86_64", "ovmf"), "arm64": ("aarch64", "qemu-efi-aarch64")}  # QEMU's; Debian package


def missing(arch: Arch, wanted: Firmware, directory: Path = _DESCRIPTIONS) -> str:
    """What is not there that boots such a machine, and what to do; empty if it is. QEMU has a BIOS of its own."""
    if wanted == "bios":
        return ""
    name, package = _NAMES[arch]
    for one in _described(directory):
        if any(target.get("architecture") == name for target in one.get("targets", ())) and (
            wanted != "secure-boot" or "enrolled-keys" in one.get("features", ())
        ):
            return ""
    return f"there is no {wanted} for {arch} guests here; install the package {package}"


def _described(directory: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(directory.glob("*.json")):
        yield json.loads(file.read_text())
