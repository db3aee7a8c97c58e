"""libvirt's description of a virtual machine, from its recipe; and what of ours is read back from one. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from vmhost.recipe import Firmware, Recipe, to_dict

Accelerator = Literal["kvm", "tcg"]

NAMESPACE = "urn:branchline:vm"
TYPES = {"kvm": "kvm", "tcg": "qemu"}
_MACHINES = {"x86-64": ("x86_64", "q35"), "arm64": ("aarch64", "virt")}

_LETTERS = "abcdefghi"
_DISKS = {"virtio": ("virtio", "vd"), "standard": ("sata", "sd")}
_CARDS = {"virtio": "virtio", "standard": "e1000e"}
_BOOT = ("kernel", "initrd", "cmdline")

ElementTree.register_namespace("branchline", NAMESPACE)


STATUS_CHANNEL = "org.branchline.status.0"
"""On it a machine that we have built says how far it is."""
_SYSTEM_DISK = "bl-system"


@dataclass(frozen=True)
class Boot:
    """A system that is booted directly: its kernel, initrd and disk are in `directory`, `arguments` the kernel's."""

    directory: Path
    arguments: str

    @property
    def system(self) -> Path:
        """The disk, which is only read."""
        return self.directory / "system"


def disk_file(directory: Path, disk: str) -> Path:
    """Where a disk is kept, in the directory of its machine."""
    return directory / f"{disk}.qcow2"


def domain_xml(
    recipe: Recipe, accelerator: Accelerator, directory: Path, uuid: str = "", boot: Boot | None = None
) -> str:
    """The domain: the recipe's devices, a serial console, a channel for the guest agent. Disks are in `directory`.

    `uuid` is that of a machine that is restored; a new one is made if left out. It boots from the first disk, or from
    `boot` if that is given.
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
    system = _system(root, recipe, boot)
    if boot is None:
        _put(system, "boot", dev="hd")
    else:
        for tag in _BOOT:
            _put(system, tag)
    features = _put(root, "features")
    if recipe.arch == "x86-64" or system.get(
        "firmware"
    ):  # an arm64 kernel that is booted directly has no ACPI
        _put(features, "acpi")
    if recipe.arch == "x86-64":
        _put(features, "apic")
    if recipe.firmware == "secure-boot":
        _put(features, "smm", state="on")
    _put(root, "cpu", mode="maximum")
    if recipe.kind == "windows":
        _suit_windows(root, features, accelerator)
    else:
        _put(root, "clock", offset="utc")
    _put(root, "on_poweroff", "destroy")
    _put(root, "on_reboot", "restart")
    _put(root, "on_crash", "restart")
    devices = _put(root, "devices")
    _devices(devices, recipe, directory)
    if boot is not None:
        made = _put(devices, "disk", type="file", device="disk")
        _put(made, "driver", name="qemu", type="raw")
        _put(made, "source")
        _put(made, "target", dev=f"vd{_LETTERS[len(recipe.disks)]}", bus="virtio")
        _put(made, "readonly")
        _put(made, "serial", _SYSTEM_DISK)
        _limit(made, recipe)
        _put(_put(devices, "channel", type="unix"), "target", type="virtio", name=STATUS_CHANNEL)
        _switch(root, boot)
    return ElementTree.tostring(root, encoding="unicode")


def _system(root: ElementTree.Element, recipe: Recipe, boot: Boot | None) -> ElementTree.Element:
    """The machine, and its firmware, which libvirt chooses from those that are installed."""
    arch, machine = _MACHINES[recipe.arch]
    system = _put(root, "os")
    _put(system, "type", "hvm", arch=arch, machine=machine)
    if boot is not None or firmware(recipe) == "bios":
        return system
    system.set("firmware", "efi")
    enabled = "yes" if recipe.firmware == "secure-boot" else "no"
    features = _put(system, "firmware")
    for name in ("secure-boot", "enrolled-keys"):  # left open, libvirt takes whatever it finds first
        _put(features, "feature", enabled=enabled, name=name)
    return system


def firmware(recipe: Recipe) -> Firmware:
    """What boots a machine; `bios` stands for none as well."""
    if recipe.arch == "arm64":
        return "bios" if recipe.bundle else "uefi"
    return recipe.firmware or "bios"


def _suit_windows(root: ElementTree.Element, features: ElementTree.Element, accelerator: Accelerator) -> None:
    """A clock as Windows reads it, in local time; and the interfaces of Hyper-V, which only KVM has."""
    clock = _put(root, "clock", offset="localtime")
    _put(clock, "timer", name="rtc", tickpolicy="catchup")
    _put(clock, "timer", name="pit", tickpolicy="delay")
    _put(clock, "timer", name="hpet", present="no")
    if accelerator != "kvm":
        return
    _put(clock, "timer", name="hypervclock", present="yes")
    hyperv = _put(features, "hyperv")
    for name in ("relaxed", "vapic", "vpindex", "runtime", "synic", "stimer"):
        _put(hyperv, name, state="on")
    _put(hyperv, "spinlocks", state="on", retries="8191")


def switched(xml: str, boot: Boot) -> str:
    """The description `xml` of a machine that boots a system directly, when it is to boot another."""
    root = ElementTree.fromstring(xml)
    _switch(root, boot)
    return ElementTree.tostring(root, encoding="unicode")


def _switch(root: ElementTree.Element, boot: Boot) -> None:
    values = {
        "kernel": str(boot.directory / "vmlinuz"),
        "initrd": str(boot.directory / "initrd"),
        "cmdline": boot.arguments,
    }
    for tag in _BOOT:
        element = root.find(f"os/{tag}")
        assert element is not None
        element.text = values[tag]
    source = root.find(f"devices/disk[serial='{_SYSTEM_DISK}']/source")
    assert source is not None
    source.set("file", str(boot.system))


def _limit(disk: ElementTree.Element, recipe: Recipe) -> None:
    limit = _put(disk, "iotune")
    _put(limit, "total_bytes_sec", str(int(recipe.disk_rate)))
    _put(limit, "total_iops_sec", str(recipe.disk_operations))
    _put(limit, "group_name", "disks")  # one limit for all of them


def _devices(devices: ElementTree.Element, recipe: Recipe, directory: Path) -> None:
    bus, prefix = _DISKS[recipe.devices]
    for at, disk in enumerate(recipe.disks):
        made = _put(devices, "disk", type="file", device="disk")
        # A full disk of the box pauses the guest, which sees no error; a broken one is the guest's to know.
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
        _put(made, "target", dev=f"{prefix}{_LETTERS[at]}", bus=bus)
        _limit(made, recipe)
    for network in recipe.networks:
        card = _put(devices, "interface", type="bridge")
        if network.mac is not None:
            _put(card, "mac", address=network.mac)
        _put(card, "source", bridge=network.bridge)
        _put(card, "model", type=_CARDS[recipe.devices])
        _put(card, "rom", enabled="no")  # nothing is booted from the network
    _put(_put(devices, "console", type="pty"), "target", type="serial", port="0")
    agent = _put(devices, "channel", type="unix")
    _put(agent, "target", type="virtio", name="org.qemu.guest_agent.0")
    _put(_put(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")
    _put(devices, "memballoon", model="virtio")
    if recipe.display:
        _display(devices, recipe.arch)
    else:
        _put(devices, "controller", type="usb", model="none")


def _display(devices: ElementTree.Element, arch: str) -> None:
    """A screen that any guest can drive from its first second, and a tablet, whose pointer is where the viewer's is."""
    _put(devices, "controller", type="usb", model="qemu-xhci")
    for kind in ("tablet", "keyboard"):
        _put(devices, "input", type=kind, bus="usb")
    _put(_put(devices, "graphics", type="vnc"), "listen", type="socket")  # never TCP; libvirt makes the path
    _put(_put(devices, "video"), "model", type="vga" if arch == "x86-64" else "virtio")


def _put(parent: ElementTree.Element, tag: str, text: str = "", **attributes: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag, attributes)
    child.text = text or None
    return child


def kept_recipe(metadata: str) -> dict[str, Any]:
    """The recipe, as plain values, from the metadata element that libvirt gives back; empty if it cannot be read."""
    try:
        tree = json.loads(ElementTree.fromstring(metadata).text or "{}")
    except (ValueError, ElementTree.ParseError):
        return {}
    return tree if isinstance(tree, dict) else {}


def console_device(xml: str) -> str | None:
    """The pseudo terminal of a running domain's serial console."""
    console = ElementTree.fromstring(xml).find("devices/console")
    return None if console is None else console.get("tty")


def status_socket(xml: str) -> str | None:
    """The socket of a running domain's STATUS_CHANNEL."""
    for channel in ElementTree.fromstring(xml).iterfind("devices/channel"):
        target, source = channel.find("target"), channel.find("source")
        if target is not None and source is not None and target.get("name") == STATUS_CHANNEL:
            return source.get("path")
    return None


def kernel(xml: str) -> str | None:
    """What a domain boots directly, if it does."""
    return ElementTree.fromstring(xml).findtext("os/kernel")


def display_socket(xml: str) -> str | None:
    """The socket of a running domain's display."""
    listening = ElementTree.fromstring(xml).find("devices/graphics/listen[@type='socket']")
    return None if listening is None else listening.get("socket")


def agent_answers(xml: str) -> bool:
    """Whether the guest agent of a running domain has opened its channel."""
    target = ElementTree.fromstring(xml).find("devices/channel/target[@name='org.qemu.guest_agent.0']")
    return target is not None and target.get("state") == "connected"
