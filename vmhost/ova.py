"""An OVA, a tar file with a description, a manifest and disks, unpacked without trust."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vmhost.abilities import disk_left
from vmhost.errors import VmError
from vmhost.images import RESERVE
from vmhost.ovf import LARGEST, Description, checksums, describe
from vmhost.values import MIB, show_size

MOST_MEMBERS = 64
_PIECE = 2**20


@dataclass(frozen=True)
class Contents:
    """What an OVA had in it. `recipe` is the file made of it, `verified` whether a manifest vouched for all of it."""

    recipe: Path
    verified: bool
    unmapped: tuple[str, ...]


def unpack(ova: Path, directory: Path, progress: Callable[[float], None]) -> Contents:
    """Make `directory`, with the disks of `ova` and a recipe; or nothing, and VmError for whatever is wrong. Blocks.

    `progress` is told the fraction that is done.
    """
    if directory.exists():
        raise VmError("refused", f"{directory} is there already; name a directory that is to be made")
    half = directory.with_name(f"{directory.name}.part")
    shutil.rmtree(half, ignore_errors=True)  # of an earlier try that was killed
    try:
        half.mkdir(parents=True)
        with tarfile.open(ova, "r:") as archive:
            description, verified = _unpack(archive, half, disk_left(half) - RESERVE, progress)
        name = _name(description.name)
        (half / f"{name}.toml").write_text(_recipe(name, description))
        half.rename(directory)
    except (tarfile.TarError, EOFError) as error:
        raise VmError("refused", f"{ova} is no OVA: {error}") from None
    except OSError as error:
        raise VmError("failed", f"{error.filename or ova}: {error.strerror}") from None
    except VmError as error:
        raise VmError(error.kind, f"{ova}: {error}") from None
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return Contents(directory / f"{name}.toml", verified, description.unmapped)


def _name(described: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", described.lower())[:63].strip("-") or "machine"


def _recipe(name: str, description: Description) -> str:
    lines = [f'name = "{name}"', f'memory = "{description.memory // MIB}MiB"', f"vcpus = {description.vcpus}"]
    for at, disk in enumerate(description.disks):
        lines += ["", "[[disks]]", f'name = "disk-{at + 1}"', f"image = {json.dumps(disk)}"]
    for _ in range(description.cards):
        lines += ["", "# [[networks]]", '# bridge = "the bridge of this box that the card is plugged into"']
    return "\n".join([*lines, *[f"# left out: {json.dumps(one)}" for one in description.unmapped], ""])


def _unpack(
    archive: tarfile.TarFile, directory: Path, room: int, progress: Callable[[float], None]
) -> tuple[Description, bool]:
    """Also whether a manifest vouched for it."""
    members: dict[str, tarfile.TarInfo] = {}
    while (member := archive.next()) is not None:
        if not member.isfile() or "/" in member.name or member.name.startswith(".") or "\0" in member.name:
            raise VmError("refused", f"{member.name!r} is not a plain file beside the description")
        if member.name in members:
            raise VmError("refused", f"{member.name!r} is in it twice")
        members[member.name] = member
        if len(members) > MOST_MEMBERS:
            raise VmError("refused", f"there are more than {MOST_MEMBERS} files in it")
    described = [name for name in members if name.lower().endswith(".ovf")]
    if len(described) != 1:
        raise VmError("refused", f"there are {len(described)} descriptions (.ovf) in it, not one")
    description = describe(_read(archive, members[described[0]]))
    for name in description.disks:
        if name not in members:
            raise VmError("refused", f"the disk {name!r} is not in it")
    manifests = [name for name in members if name.lower().endswith(".mf")]
    wanted = {
        file: (kind, digest)
        for name in manifests
        for file, kind, digest in checksums(_read(archive, members[name]))
    }
    needed = [described[0], *dict.fromkeys(description.disks)]
    if manifests and (missing := [name for name in needed if name not in wanted]):
        raise VmError("refused", f"the manifest does not vouch for {missing[0]!r}")
    total = sum(members[name].size for name in needed)
    if total > room:
        raise VmError(
            "refused", f"its disks take {show_size(total)}, there is room for {show_size(max(0, room))}"
        )
    done = 0
    for name in needed:
        kind, digest = wanted.get(name, ("sha256", ""))
        found = hashlib.new(kind, usedforsecurity=False)
        source = archive.extractfile(members[name])
        assert source is not None
        with (directory / name).open("xb") as file:
            while piece := source.read(_PIECE):
                file.write(piece)
                found.update(piece)
                done += len(piece)
                progress(done / total)
        if name in wanted and found.hexdigest() != digest:
            raise VmError("refused", f"{name!r} is not what the manifest vouches for; copy the OVA anew")
    return description, bool(manifests)


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > LARGEST:
        raise VmError("refused", f"{member.name!r} is larger than {LARGEST} bytes")
    file = archive.extractfile(member)
    assert file is not None
    return file.read(LARGEST)
