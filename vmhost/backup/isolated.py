"""A machine's twin that cannot meet anybody: no network, other disks, another identity. Pure.

Its definition lay beside the backup, where others may write: only what is known to be harmless is passed on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from vmhost.errors import VmError

_PARTS: Final = {
    *("name", "memory", "currentMemory", "vcpu", "os", "features", "cpu", "clock"),
    *("on_poweroff", "on_reboot", "on_crash", "pm", "devices"),
}
"""What else a machine has (its identity, programs and options for QEMU) is not passed on."""
_DEVICES: Final = {
    *("disk", "controller", "interface", "console", "serial", "channel"),
    *("rng", "memballoon", "video", "input", "panic"),
}
"""What else a machine has (its emulator, devices and directories of the host, graphics) is not passed on."""
_ENDS: Final = {"console": "pty", "serial": "pty", "channel": "unix"}
"""What the host has of each; libvirt chooses which."""
_Element = ElementTree.Element


def isolated(
    xml: str,
    name: str,
    disks: Mapping[str, Path],
    boot: Mapping[str, Path],
    domain_type: str,
    variables: Path,
) -> str:
    """The definition `xml`, made into that of its twin `name`.

    `disks` are qcow2 files by their names in the guest ("vda"), `boot` the files of a system that is booted directly
    ("kernel"), `domain_type` is libvirt's ("kvm", "qemu"), `variables` a file that is to be made, of a UEFI if there is
    one. Network cards are there, with the addresses the guest knows, and their links are down. VmError if `xml` is no
    definition of a machine with these disks.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise VmError("refused", f"the definition in it cannot be read: {error}") from None
    root.set("type", domain_type)
    _keep(root, *_PARTS)
    _found(root, "name").text = name
    _boot(_found(root, "os"), boot, variables)
    devices = _found(root, "devices")
    for device in list(devices):
        if device.tag not in _DEVICES or (device.tag == "disk" and device.get("device") != "disk"):
            devices.remove(device)
        elif device.tag == "interface":
            _unplug(device)
        elif device.tag == "disk":
            _replace(device, disks)
        elif device.tag == "rng":
            _be_random(device)
        elif device.tag in _ENDS:
            device.set("type", _ENDS[device.tag])
            _keep(device, "target", "address")
        elif device.tag == "input":
            _remove(device, "source")
    return ElementTree.tostring(root, encoding="unicode")


def _boot(system: _Element, files: Mapping[str, Path], variables: Path) -> None:
    """Firmware and kernel are files of the host, read with its rights: libvirt's own choice, or those of the backup."""
    if system.find("kernel") is not None and "kernel" not in files:
        raise VmError("refused", "the kernel that it boots is not in the backup; take another backup")
    _keep(system, "type", "boot", "firmware", *(("cmdline",) if files else ()))
    for tag, file in files.items():
        _found(system, tag).text = str(file)
    if system.get("firmware") == "efi":
        _found(system, "nvram").text = str(variables)


def _be_random(source: _Element) -> None:
    """Whatever it was a source of."""
    for part in list(source):
        source.remove(part)
    ElementTree.SubElement(source, "backend", model="random").text = "/dev/urandom"


def _unplug(card: _Element) -> None:
    _keep(card, "mac", "model", "address")
    card.set("type", "user")
    ElementTree.SubElement(card, "link", state="down")
    ElementTree.SubElement(card, "rom", enabled="no")


def _replace(disk: _Element, disks: Mapping[str, Path]) -> None:
    for tag in ("backingStore", "mirror"):
        _remove(disk, tag)
    _found(disk, "driver").set("type", "qcow2")
    dev = _found(disk, "target").get("dev", "")
    if dev not in disks:
        raise VmError("refused", f"the definition in it has a disk {dev!r} that is not in it")
    disk.set("type", "file")
    source = _found(disk, "source")
    source.clear()
    source.set("file", str(disks[dev]))


def _found(parent: _Element, tag: str) -> _Element:
    child = parent.find(tag)
    return ElementTree.SubElement(parent, tag) if child is None else child


def _keep(parent: _Element, *tags: str) -> None:
    """Of what is in `parent`, only that."""
    for part in list(parent):
        if part.tag not in tags:
            parent.remove(part)


def _remove(parent: _Element, tag: str) -> None:
    for child in parent.findall(tag):
        parent.remove(child)
