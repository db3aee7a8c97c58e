"""A virtual machine as a person writes it down: a short TOML file, verified before anything is changed."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from vmhost.errors import RecipeError
from vmhost.health.plan import Health, from_directory, plan_problems
from vmhost.values import GIB, MIB, Bridge, Mac, Name, Seconds, Size, show_size

Arch = Literal["x86-64", "arm64"]
Kind = Literal["plain", "directory", "windows"]
Role = Literal["rodc", "dc", "new"]
Devices = Literal["virtio", "standard"]
Firmware = Literal["bios", "uefi", "secure-boot"]

LEAST_MEMORY, MOST_MEMORY = 64 * MIB, 1024 * GIB
LEAST_DISK, MOST_DISK = MIB, 8 * 1024 * GIB
MOST_CPUS = 64
MOST_DISKS, MOST_NETWORKS = 8, 8
LONGEST_STOP_S = 1800
LEAST_RATE = MIB
LEAST_OPERATIONS, MOST_OPERATIONS = 50, 1_000_000
LEAST_EVERY_S, MOST_KEPT = 600, 1000
_LARGEST = 2**18  # bytes of a file

_URL = re.compile(r"rsync://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?/[A-Za-z0-9._/-]+", re.ASCII)
_PLACE = re.compile(r"|/.*")
_PATH = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_MISSING = re.compile(r"Object missing required field `(.*)`")


def _says(sentence: str) -> msgspec.Meta:
    return msgspec.Meta(description=sentence)


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Immutable, and a misspelt field is an error."""


class Disk(_Part, frozen=True):
    """A virtual disk: a copy of an image, or empty."""

    name: Annotated[Name, _says("Name of the disk, unique in the recipe; also that of its file.")]
    image: Annotated[
        str,
        _says("Disk image that is copied (qcow2, raw, vmdk or vhdx); empty: the disk is new and empty."),
    ] = ""
    size: Annotated[
        Size | None,
        _says('What the guest sees, like "20GiB"; a disk from an image keeps the image\'s if left out.'),
    ] = None


class Network(_Part, frozen=True):
    """A virtual network card."""

    bridge: Annotated[Bridge, _says("Bridge of this box that the card is plugged into.")]
    mac: Annotated[Mac | None, _says("Its hardware address; one is made if left out.")] = None


class Backup(_Part, frozen=True):
    """When a machine is backed up, and where to."""

    every: Annotated[Seconds, _says('How long after one backup the next is taken, like "24h".')]
    keep: Annotated[int, _says("How many are kept; the last one that is good is, whatever its age.")] = 7
    to: Annotated[
        str,
        _says("Directory of the backups; empty: `vm-backups` in the state directory."),
    ] = ""
    send: Annotated[
        str,
        _says("rsync://HOST/MODULE of another site, where the backups are sent to as well; empty: nowhere."),
    ] = ""
    send_from: Annotated[
        str, _says('A free address of the LAN, from which they are sent, like "10.1.0.250/24".')
    ] = ""
    send_by: Annotated[str, _says("The LAN's gateway.")] = ""


class Recipe(_Part, frozen=True):
    """A virtual machine."""

    name: Annotated[Name, _says("Name of the machine, unique on this box.")]
    memory: Annotated[Size, _says('Memory of the guest, like "1GiB".')]
    disks: Annotated[tuple[Disk, ...], _says("Its disks, one [[disks]] each; it boots from the first.")]
    vcpus: Annotated[int, _says("Virtual processors.")] = 1
    arch: Annotated[Arch, _says("What the guest's processor is.")] = "x86-64"
    autostart: Annotated[
        bool, _says("`true`: started when the box starts, and again after a crash of the machine.")
    ] = False
    stop_within: Annotated[
        Seconds, _says("How long an orderly stop may take before it is said to have failed.")
    ] = Seconds(90)
    disk_rate: Annotated[
        Size, _says('Bytes a second that all its disks together may read and write, like "100MiB".')
    ] = Size(100 * MIB)
    disk_operations: Annotated[
        int, _says("Reads and writes a second that all its disks together may do.")
    ] = 2000
    display: Annotated[
        bool, _says("`true`: a graphics card and a tablet, shown by VNC on a socket of the box.")
    ] = False
    devices: Annotated[
        Devices,
        _says(
            "What its disks and network cards are: `virtio`, or `standard` (SATA, Intel), known to guests without "
            "virtio's drivers, and slower."
        ),
    ] = "virtio"
    firmware: Annotated[
        Firmware | None,
        _says(
            "What boots its disk: `bios`, `uefi`, or `secure-boot`, a UEFI that only boots what Microsoft has signed."
        ),
    ] = None
    networks: Annotated[tuple[Network, ...], _says("Its network cards, one [[networks]] each.")] = ()
    bundle: Annotated[
        str,
        _says(
            "Directory of a signed system (docs/DIRECTORY.md) that the machine boots instead; the disks are its data."
        ),
    ] = ""
    kind: Annotated[
        Kind,
        _says("What the guest is. It decides how a backup is restored: a directory's disk never comes back."),
    ] = "plain"
    role: Annotated[
        Role | None,
        _says(
            "Of a directory: read-only (`rodc`), one of several (`dc`), or the first of its domain (`new`)."
        ),
    ] = None
    health: Annotated[Health | None, _says("How its service is checked; left out: not at all.")] = None
    backup: Annotated[Backup | None, _says("When it is backed up by itself; left out: never.")] = None


_PARTS: dict[str, type[msgspec.Struct]] = {
    "disks": Disk,
    "networks": Network,
    "backup": Backup,
    "health": Health,
}


def parse(text: str, file: str) -> Recipe:
    """The verified recipe of a TOML text; RecipeError naming `file`. Images become absolute, from its directory."""
    if len(text) > _LARGEST:
        raise RecipeError(file, "", "is larger than 256 KiB", "is it the right file?")
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a ValueError: tomllib's, or a huge number
        raise RecipeError(
            file, "", f"cannot be understood: {error}", "text is written in quotes; see docs/VMHOST.md"
        ) from None
    try:
        recipe = msgspec.convert(tree, Recipe, dec_hook=_value)
    except msgspec.ValidationError as error:
        raise _explained(str(error), file) from None
    for key, problem, remedy in _problems(recipe):
        raise RecipeError(file, key, problem, remedy)
    base = Path(file).parent
    disks = tuple(
        msgspec.structs.replace(disk, image=os.path.abspath(base / disk.image)) if disk.image else disk
        for disk in recipe.disks
    )
    health = from_directory(recipe.health, base) if recipe.health else None
    bundle = os.path.abspath(base / recipe.bundle) if recipe.bundle else ""
    return msgspec.structs.replace(recipe, disks=disks, health=health, bundle=bundle)


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Plain values: sizes are bytes, times seconds."""
    tree: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(recipe, enc_hook=_plain))
    return tree


def _plain(value: object) -> object:
    return int(value) if isinstance(value, int) else str(value)


def _value(kind: type[Any], value: Any) -> Any:
    return kind.parse(value)  # every type of the schema that msgspec does not know is one of values.py


def from_dict(tree: dict[str, Any], file: str) -> Recipe:
    """The verified recipe of what `to_dict` made; RecipeError naming `file`."""
    try:
        recipe = msgspec.convert(tree, Recipe, dec_hook=_kept_value)
    except (msgspec.ValidationError, ValueError) as error:
        raise _explained(str(error), file) from None
    for key, problem, remedy in _problems(recipe):
        raise RecipeError(file, key, problem, remedy)
    return recipe


def _kept_value(kind: type[Any], value: Any) -> Any:
    return kind(value) if isinstance(value, int) and issubclass(kind, int) else kind.parse(value)


def _problems(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    """Key, problem and remedy of what each field alone cannot know, and of ranges. Pure."""
    if not LEAST_MEMORY <= recipe.memory <= MOST_MEMORY:
        yield "memory", "is out of range", f"use {show_size(LEAST_MEMORY)} to {show_size(MOST_MEMORY)}"
    if not 1 <= recipe.vcpus <= MOST_CPUS:
        yield "vcpus", f"{recipe.vcpus} is out of range", f"use 1 to {MOST_CPUS}"
    if not 1 <= recipe.stop_within <= LONGEST_STOP_S:
        yield "stop_within", "is out of range", f'use "1s" to "{LONGEST_STOP_S}s"'
    if not LEAST_RATE <= recipe.disk_rate <= MOST_DISK:
        yield "disk_rate", "is out of range", f"use {show_size(LEAST_RATE)} or more"
    if not LEAST_OPERATIONS <= recipe.disk_operations <= MOST_OPERATIONS:
        yield "disk_operations", "is out of range", f"use {LEAST_OPERATIONS} to {MOST_OPERATIONS}"
    if not 1 <= len(recipe.disks) <= MOST_DISKS:
        yield "disks", f"there are {len(recipe.disks)}", f"write 1 to {MOST_DISKS} [[disks]]"
    if "\0" in recipe.bundle:
        yield "bundle", "has a zero byte in it", "write the path without it"
    if len(recipe.networks) > MOST_NETWORKS:
        yield "networks", f"there are {len(recipe.networks)}", f"write at most {MOST_NETWORKS} [[networks]]"
    for at, disk in enumerate(recipe.disks):
        where = f"disks[{at}]"
        if any(other.name == disk.name for other in recipe.disks[:at]):
            yield f"{where}.name", f'there are two disks "{disk.name}"', "give each its own name"
        if "\0" in disk.image:
            yield f"{where}.image", "has a zero byte in it", "write the path without it"
        if disk.size is None and not disk.image:
            yield f"{where}.size", "is missing", "say how large the empty disk is, or which `image` it has"
        if disk.size is not None and not LEAST_DISK <= disk.size <= MOST_DISK:
            yield f"{where}.size", "is out of range", f"use {show_size(LEAST_DISK)} to {show_size(MOST_DISK)}"
    if (recipe.kind == "directory") != (recipe.role is not None):
        yield "role", "goes with a directory", 'write it with kind = "directory", and only then'
    if recipe.arch == "arm64" and recipe.firmware in ("bios", "secure-boot"):
        yield "firmware", f"{recipe.firmware} is nothing that arm64 has", "leave it out: arm64 has UEFI"
    if recipe.arch == "arm64" and recipe.devices == "standard":
        yield "devices", "arm64 guests know virtio", "leave it out"
    if recipe.firmware is not None and recipe.bundle:
        yield "firmware", "a bundle is booted without any", "leave it out"
    if recipe.kind == "windows" and recipe.arch != "x86-64":
        yield "kind", f"QEMU has no generation id for {recipe.arch}", "Windows guests are x86-64"
    if recipe.backup is not None:
        yield from _backup_problems(recipe.backup)
        if recipe.backup.send and not recipe.networks:
            yield "backup.send", "needs the bridge of a network card", "write a [[networks]]"
    if recipe.health is not None:
        for field, problem, remedy in plan_problems(recipe.health):
            yield f"health.{field}", problem, remedy
    macs = [network.mac for network in recipe.networks]
    for at, mac in enumerate(macs):
        if mac is not None and mac in macs[:at]:
            yield f"networks[{at}].mac", f'"{mac}" is there twice', "give each card its own, or leave it out"


def _backup_problems(backup: Backup) -> Iterator[tuple[str, str, str]]:
    if backup.every < LEAST_EVERY_S:
        yield "backup.every", "is too often", 'use "10min" or more'
    if not 1 <= backup.keep <= MOST_KEPT:
        yield "backup.keep", f"{backup.keep} is out of range", f"use 1 to {MOST_KEPT}"
    if problem := place_problem(backup.to):
        yield "backup.to", *problem
    if backup.send and not _URL.fullmatch(backup.send):
        yield "backup.send", f"{backup.send!r} cannot be sent to", "write rsync://HOST/MODULE"
    for key, kind in (("send_from", ipaddress.ip_interface), ("send_by", ipaddress.ip_address)):
        if not backup.send and not getattr(backup, key):
            continue
        try:
            kind(getattr(backup, key))
        except ValueError:
            yield (
                f"backup.{key}",
                "is no address",
                'write it like "10.1.0.250/24", and send_by like "10.1.0.1"',
            )


def place_problem(to: str) -> tuple[str, str] | None:
    """Problem and remedy of a place for backups; None if it can be one. "" is the box's own."""
    if _PLACE.fullmatch(to) and to.isprintable():
        return None
    return f"{to!r} is no place for backups", "write an absolute path"


def _explained(message: str, file: str) -> RecipeError:
    """From msgspec's message: "… - at `$.disks[0].size`"."""
    found = _PATH.search(message)
    key = found[1] if found else ""
    problem = _PATH.sub("", message)
    if unknown := _UNKNOWN.fullmatch(problem):
        fields = list(_part(key).__struct_fields__)
        close = difflib.get_close_matches(unknown[1], fields, n=1)
        remedy = f'did you mean "{close[0]}"?' if close else f"the fields here are: {', '.join(fields)}"
        return RecipeError(file, _join(key, unknown[1]), "there is no such field", remedy)
    if missing := _MISSING.fullmatch(problem):
        return RecipeError(
            file, _join(key, missing[1]), "is missing", f"write it: {_sentence(_join(key, missing[1]))}"
        )
    what, separator, remedy = problem.rpartition("; ")
    if separator:  # one of values.py
        return RecipeError(file, key, what, remedy)
    return RecipeError(file, key, f"does not fit: {problem.lower()}", _sentence(key))


def _join(key: str, field: str) -> str:
    return f"{key}.{field}" if key else field


def _part(key: str) -> type[msgspec.Struct]:
    return _PARTS.get(key.partition("[")[0], Recipe)


def _sentence(key: str) -> str:
    """What the schema says of the field at `key`."""
    parent, _, name = key.rpartition(".")
    info = msgspec.inspect.type_info(_part(parent))
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        if field.name == name.partition("[")[0] and isinstance(field.type, msgspec.inspect.Metadata):
            return str((field.type.extra_json_schema or {}).get("description"))
    return "see docs/VMHOST.md"
