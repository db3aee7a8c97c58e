"""Kernel modules and what they need, from the files alone (there is no depmod on a build host of another release)."""

from __future__ import annotations

import lzma
import re
from collections.abc import Mapping
from pathlib import Path

WANTED = (
    *("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_balloon", "virtio-rng"),
    *("squashfs", "button", "evdev", "ptp_kvm"),
)
"""What the guest has; some are part of the kernel on some architectures."""

_NEEDS = re.compile(rb"\0depends=([^\0]*)\0")


def modules(tree: Path) -> Mapping[str, bytes]:
    """By file name, in an order in which they can be loaded, those WANTED of the kernel unpacked in `tree`."""
    files = {_name(path): path for path in sorted(tree.rglob("*.ko*"))}
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        path = files.get(name.replace("-", "_"))
        if path is None or f"{_name(path)}.ko" in found:
            return
        content = path.read_bytes()
        if path.suffix == ".xz":
            content = lzma.decompress(content)
        needs = _NEEDS.search(content)
        for other in needs[1].decode().split(",") if needs else ():
            add(other)
        found[f"{_name(path)}.ko"] = content

    for name in WANTED:
        add(name)
    return found


def _name(path: Path) -> str:
    return path.name.partition(".")[0].replace("-", "_")
