"""libvirt's description of a virtual machine, from its recipe; and what of ours is read back from one. Pure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from vmhost.recipe import Recipe, to_dict

Accelerator = Literal["kvm", "tcg"]

NAMESPACE = "urn:branchline:vm"
TYPES = {"kvm": "kvm", "tcg": "qemu"}
_MACHINES = {"x86-64": ("x86_64", "q35"), "arm64": ("aarch64", "virt")}

ElementTree.register_namespace("branchline", NAMESPACE)


def disk_file(directory: Path, disk: str) -> Path:
    """Where a disk is kept, in the directory of its machine."""
    return directory / f"{disk}.qcow2"


def domain_xml(recipe: Recipe, accelerator: Accelerator, directory: Path, uuid: str = "") -> str:
    """The domain: virtio throughout, a serial console, a channel for the guest agent. Disks are in `directory`.

    `uuid` is that of a machine that is restored; a new one is made if left out.
    """
    root = ElementTree.Element("domain", type=TYPES[accelerator])
    _put(root, "name", recipe.name)
    if uuid:
        _put(root, "uuid", uuid)
    kept = _put(_put(root, "metadata"), f"{{{NAMESPACE}}}recipe")
    kept.text = json.dumps(to_dict(recipe))
    if recipe.arch == "x86-64":
        # libvirt makes a new one for each definition: a restored guest hears that it is not what it was.
        _put(root, "genid")
    _put(root, "memory", str(int(recipe.memory)), unit="b")
    _put(root, "vcpu", str(recipe.vcpus))
    arch, machine = _MACHINES[recipe.arch]
    system = _put(root, "os", **({"firmware": "efi"} if recipe.arch == "arm64" else {}))
    _put(system, "type", "hvm", arch=arch, machine=machine)
    _put(system, "boot", dev="hd")
    features = _put(root, "features")
    _put(features, "acpi")
    if recipe.arch == "x86-64":
        _put(features, "apic")
    _put(root, "cpu", mode="maximum")
    _put(root, "clock", offset="utc")
    _put(root, "on_poweroff", "destroy")
    _put(root, "on_reboot", "restart")
    _put(root, "on_crash", "restart")
    _devices(_put(root, "devices"), recipe, directory)
    return ElementTree.tostring(root, encoding="unicode")


def _devices(devices: ElementTree.Element, recipe: Recipe, directory: Path) -> None:
    for at, disk in enumerate(recipe.disks):
        made = _put(devices, "disk", type="file", device="disk")
        # A full disk pauses the guest, which sees no error.
        _put(
            made,
            "driver",
            name="qemu",
            type="qcow2",
            discard="unmap",
            error_policy="stop",
            rerror_policy="report",
        )
        _put(made, "source", file=str(disk_file(directory, disk.name)))
        _put(made, "target", dev=f"vd{'abcdefgh'[at]}", bus="virtio")
        limit = _put(made, "iotune")
        _put(limit, "total_bytes_sec", str(int(recipe.disk_rate)))
        _put(limit, "total_iops_sec", str(recipe.disk_operations))
        _put(limit, "group_name", "disks")  # one limit for all of them
    for network in recipe.networks:
        card = _put(devices, "interface", type="bridge")
        if network.mac is not None:
            _put(card, "mac", address=network.mac)
        _put(card, "source", bridge=network.bridge)
        _put(card, "model", type="virtio")
    _put(_put(devices, "console", type="pty"), "target", type="serial", port="0")
    agent = _put(devices, "channel", type="unix")
    _put(agent, "target", type="virtio", name="org.qemu.guest_agent.0")
    _put(_put(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")
    _put(devices, "memballoon", model="virtio")
    _put(devices, "controller", type="usb", model="none")


def _put(parent: ElementTree.Element, tag: str, text: str = "", **attributes: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag, attributes)
    child.text = text or None
    return child


def kept_recipe(metadata: str) -> dict[str, Any]:
    """The recipe, as plain values, from the metadata element that libvirt gives back."""
    tree: dict[str, Any] = json.loads(ElementTree.fromstring(metadata).text or "{}")
    return tree


def console_device(xml: str) -> str | None:
    """The pseudo terminal of a running domain's serial console."""
    console = ElementTree.fromstring(xml).find("devices/console")
    return None if console is None else console.get("tty")
