"""The description in an OVA: which machine somebody's hypervisor exported (DMTF DSP0243, OVF 1.x). Pure.

The XML comes from anywhere: it may have no document type, so no entity can be declared in it, and its size is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.parsers import expat

from vmhost.errors import VmError
from vmhost.recipe import MOST_DISK, Firmware
from vmhost.values import MIB, show_size

LARGEST = MIB
"""Bytes of a description."""

_CPU, _MEMORY, _CARD, _DISK = "3", "4", "10", "17"
_SILENT: Final = {"5", "6", "9", "14", "15", "16", "20", "23", "24"}
"""Controllers, drives, displays and the like: what every hypervisor has of its own."""
_UNITS: Final = {
    "byte*2^20": MIB,
    "megabytes": MIB,
    "byte*2^30": 2**30,
    "gigabytes": 2**30,
    "byte*2^10": 1024,
}
_POWER: Final = re.compile(r"bytes?(?:\*2\^([0-9]{2}))?")
_Element = ElementTree.Element


@dataclass(frozen=True)
class DiskFile:
    """A file beside the description, whose content is a disk; `gzip`: packed."""

    file: str
    gzip: bool = False


@dataclass(frozen=True)
class Description:
    """A machine: its disks are in order; `unmapped` says what is left out."""

    name: str
    vcpus: int
    memory: int
    disks: tuple[DiskFile, ...]
    cards: int
    unmapped: tuple[str, ...]
    windows: bool
    firmware: Firmware


def describe(data: bytes) -> Description:
    """The machine of an OVF document. VmError if it is none, or describes several."""
    root = _tree(data)
    if root.tag != "Envelope":
        raise VmError("refused", "the description is no OVF envelope")
    systems = list(root.iter("VirtualSystem"))
    if len(systems) != 1:
        raise VmError("refused", f"there are {len(systems)} machines in it; export them one by one")
    hardware = systems[0].find("VirtualHardwareSection")
    if hardware is None:
        raise VmError("refused", "the description says nothing of hardware")
    files = {one.get("id", ""): _file(one) for one in root.iterfind("References/File")}
    for one in root.iterfind("DiskSection/Disk"):
        _check_capacity(one)
    disks = {one.get("diskId", ""): one.get("fileRef", "") for one in root.iterfind("DiskSection/Disk")}
    vcpus, memory, cards = 1, 0, 0
    chosen: list[DiskFile] = []
    unmapped: list[str] = []
    for item in hardware.iterfind("Item"):
        kind, label = _text(item, "ResourceType"), _text(item, "ElementName") or "?"
        if kind == _CPU:
            vcpus = _number(item)
        elif kind == _MEMORY:
            memory = _number(item) * _unit(item)
        elif kind == _CARD:
            cards += 1
        elif kind == _DISK:
            file = files.get(disks.get(_text(item, "HostResource").rpartition("/")[2], ""))
            if file is not None:
                chosen.append(file)
            else:
                unmapped.append(f"{label}: a disk without content")
        elif kind not in _SILENT:
            unmapped.append(label)
    if not memory or not chosen:
        raise VmError("refused", "the description names no memory or no disk")
    name = _text(systems[0], "Name") or systems[0].get("id", "")
    return Description(
        *(name, vcpus, memory, tuple(chosen), cards, tuple(unmapped)),
        windows=_is_windows(systems[0]),
        firmware=_firmware(systems[0], hardware),
    )


def _is_windows(system: _Element) -> bool:
    """As VMware (`osType`), VirtualBox (`OSType`) or a person has written it."""
    section = system.find("OperatingSystemSection")
    if section is None:
        return False
    texts = (section.get("osType", ""), _text(section, "Description"), _text(section, "OSType"))
    return any("windows" in text.lower() for text in texts)


def _firmware(system: _Element, hardware: _Element) -> Firmware:
    """What booted it: VMware has it among its settings, VirtualBox in a description of its own."""
    settings = {one.get("key", ""): one.get("value", "").lower() for one in hardware.iterfind("Config")}
    if settings.get("bootOptions.efiSecureBootEnabled") == "true":
        return "secure-boot"
    vbox = any(one.get("type", "").startswith("EFI") for one in system.iter("Firmware"))
    return "uefi" if vbox or settings.get("firmware") == "efi" else "bios"


def _file(reference: _Element) -> DiskFile | None:
    """What a reference names; None if that is nothing. An URL is a name that no file has."""
    name, packed = unquote(reference.get("href", "")), reference.get("compression", "identity")
    if packed not in ("", "identity", "gzip") or "chunkSize" in reference.attrib:
        raise VmError(
            "refused", f"{name!r} is compressed or cut in a way that is not known; export it anew without"
        )
    return DiskFile(name, packed == "gzip") if name else None


def _check_capacity(disk: _Element) -> None:
    """VmError if a disk is said to be larger than any may be."""
    text = disk.get("capacity", "0")
    power = _POWER.fullmatch(disk.get("capacityAllocationUnits", "byte").lower().replace(" ", ""))
    unit = 2 ** int(power[1]) if power and power[1] else 1
    if text.isascii() and text.isdigit() and (len(text) > 20 or int(text) * unit > MOST_DISK):
        raise VmError("refused", f"it has a disk of more than {show_size(MOST_DISK)}; that is the most")


def _tree(data: bytes) -> _Element:
    """Without namespaces: OVF's parts do not overlap."""
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(tag: str, attributes: dict[str, str]) -> None:
        builder.start(_local(tag), {_local(key): value for key, value in attributes.items()})

    def refuse(*_: object) -> None:
        raise VmError("refused", "the description declares a document type, which OVF does not know")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: builder.end(_local(tag))
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise VmError("refused", f"the description is no XML: {error}") from None
    return builder.close()


def _local(tag: str) -> str:
    return tag.rpartition(" ")[2]


def _text(parent: _Element, tag: str) -> str:
    return (parent.findtext(tag) or "").strip()


def _number(item: _Element) -> int:
    text = _text(item, "VirtualQuantity")
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise VmError("refused", f"{_text(item, 'ElementName')}: {text[:40]!r} is not an amount")
    return int(text)


def _unit(item: _Element) -> int:
    text = _text(item, "AllocationUnits").lower().replace(" ", "")
    if text and text not in _UNITS:
        raise VmError("refused", f"memory is counted in {text[:40]!r}, which is not known")
    return _UNITS.get(text, MIB)


def checksums(manifest: bytes) -> Iterator[tuple[str, str, str]]:
    """File, algorithm (as hashlib calls it) and digest of each line of a manifest; VmError if it is none."""
    for line in manifest.decode("utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        kind, opened, rest = line.partition("(")
        file, closed, digest = rest.rpartition(")")
        algorithm = kind.strip().lower()
        if not opened or not closed or algorithm not in ("sha1", "sha256", "sha512"):
            raise VmError("refused", f"the manifest has a line that is none: {line[:80]!r}")
        yield file, algorithm, digest.strip().removeprefix("=").strip().lower()
