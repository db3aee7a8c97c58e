"""An OVA or OVF, a description with a manifest and disks, unpacked without trust."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vmhost.abilities import disk_left
from vmhost.errors import VmError
from vmhost.images import RESERVE
from vmhost.ovf import LARGEST, Description, checksums, describe
from vmhost.package import Package, opened
from vmhost.values import MIB, show_size

_PIECE = 2**20


@dataclass(frozen=True)
class Contents:
    """What an OVA had in it. `recipe` is the file made of it, `verified` whether a manifest vouched for all of it."""

    recipe: Path
    verified: bool
    unmapped: tuple[str, ...]


def unpack(source: Path, directory: Path, progress: Callable[[float], None]) -> Contents:
    """Make `directory`, with the disks of an OVA, or of an OVF and what is beside it, and a recipe. Blocks.

    Or nothing, and VmError for whatever is wrong. What a kill leaves (`directory`.part) is gone on with the next time.
    `progress` is told the fraction that is done.
    """
    if directory.exists():
        raise VmError("refused", f"{directory} is there already; name a directory that is to be made")
    half = directory.with_name(f"{directory.name}.part")
    try:
        half.mkdir(parents=True, exist_ok=True)
        with opened(source) as package:
            description, verified = _unpack(package, half, progress)
        name = _name(description.name)
        (half / f"{name}.toml").write_text(_recipe(name, description), encoding="utf-8")
        half.rename(directory)
    except (VmError, tarfile.TarError, zlib.error, OSError) as error:
        shutil.rmtree(half, ignore_errors=True)
        raise _explained(source, error) from None
    return Contents(directory / f"{name}.toml", verified, description.unmapped)


def _explained(source: Path, error: Exception) -> VmError:
    if isinstance(error, VmError):
        return VmError(error.kind, f"{source}: {error}")
    if isinstance(error, OSError):
        return VmError("failed", f"{error.filename or source}: {error.strerror}")
    return VmError("refused", f"{source} is no OVA: {error}")


def _name(described: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", described.lower())[:63].strip("-") or "machine"


def _recipe(name: str, description: Description) -> str:
    lines = [f'name = "{name}"', f'memory = "{description.memory // MIB}MiB"', f"vcpus = {description.vcpus}"]
    if description.windows:
        lines += ['kind = "windows"', "display = true"]
        lines += ['devices = "standard"  # "virtio", which is faster, if its drivers are in the guest']
    if description.firmware != "bios":
        lines += [f'firmware = "{description.firmware}"']
    for at, disk in enumerate(description.disks):
        lines += [
            "",
            "[[disks]]",
            f'name = "disk-{at + 1}"',
            f"image = {json.dumps(disk.file, ensure_ascii=False)}",
        ]
    for _ in range(description.cards):
        lines += ["", "# [[networks]]", '# bridge = "the bridge of this box that the card is plugged into"']
    return "\n".join([*lines, *[f"# left out: {json.dumps(one)}" for one in description.unmapped], ""])


def _unpack(package: Package, directory: Path, progress: Callable[[float], None]) -> tuple[Description, bool]:
    """Also whether a manifest vouched for it."""
    files = package.files
    described = [name for name in files if name.lower().endswith(".ovf")]
    if len(described) != 1:
        raise VmError("refused", f"there are {len(described)} descriptions (.ovf) in it, not one")
    description = describe(_read(package, described[0]))
    for disk in description.disks:
        if disk.file not in files:
            raise VmError("refused", f"the disk {disk.file!r} is not in it")
    manifests = [name for name in files if name.lower().endswith(".mf")]
    wanted = {
        file: (kind, digest) for name in manifests for file, kind, digest in checksums(_read(package, name))
    }
    disks = {disk.file: disk for disk in description.disks}
    if manifests and (missing := [name for name in (described[0], *disks) if name not in wanted]):
        raise VmError("refused", f"the manifest does not vouch for {missing[0]!r}")
    for left in directory.iterdir():  # of an earlier try, with another package perhaps
        if left.name not in (described[0], *disks):
            left.unlink()
    total = sum(files[name] for name in disks) or 1
    there = sum(file.stat().st_size for file in directory.iterdir())
    room = disk_left(directory) + there - RESERVE
    if total > room:
        raise VmError(
            "refused", f"its disks take {show_size(total)}, there is room for {show_size(max(0, room))}"
        )
    done = 0

    def read(count: int) -> None:
        nonlocal done
        done += count
        progress(min(1.0, done / total))

    for name in (described[0], *disks):
        gzip = name in disks and disks[name].gzip
        kind, digest = wanted.get(name, ("sha256", ""))
        found = hashlib.new(kind, usedforsecurity=False)
        with package.open(name) as source:
            room -= _write(_pieces(source, found, gzip, read), directory / name, room)
        if name in wanted and found.hexdigest() != digest:
            raise VmError("refused", f"{name!r} is not what the manifest vouches for; copy the OVA anew")
    return description, bool(manifests)


def _pieces(
    source: IO[bytes], digest: hashlib._Hash, gzip: bool, read: Callable[[int], None]
) -> Iterator[bytes]:
    """The content of a file, unpacked if it is packed with `gzip`; `read` is told how many bytes were read."""
    packed, whole = zlib.decompressobj(31), True
    while piece := source.read(_PIECE):
        digest.update(piece)
        read(len(piece))
        if not gzip:
            yield piece
            continue
        while piece:
            yield packed.decompress(piece, _PIECE)
            piece, whole = packed.unconsumed_tail, packed.eof
            if whole:
                piece, packed = packed.unused_data, zlib.decompressobj(31)
    if not whole:
        yield packed.flush()
        if not packed.eof:
            raise VmError("refused", "a compressed disk in it is cut off")


def _write(pieces: Iterator[bytes], path: Path, room: int) -> int:
    """A file of these pieces; returns its bytes, which must be `room` at most.

    What is there of an earlier try that was cut off is compared, not trusted: after a power cut it may be wrong.
    """
    at = 0
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644), "r+b") as file:
        for piece in pieces:
            if at + len(piece) > room:
                raise VmError("refused", f"its disks do not fit, there is room for {show_size(max(0, room))}")
            if file.read(len(piece)) != piece:
                file.seek(at)
                file.write(piece)
            at += len(piece)
        file.truncate(at)
    return at


def _read(package: Package, name: str) -> bytes:
    if package.files[name] > LARGEST:
        raise VmError("refused", f"{name!r} is larger than {LARGEST} bytes")
    with package.open(name) as file:
        return file.read(LARGEST)
