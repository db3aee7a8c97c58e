"""What a backup is, in a file beside its disks. Pure."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from vmhost.errors import VmError

FILE = "manifest.json"
FORMAT = 1
LARGEST = 2**20
"""Bytes of a manifest."""

Consistency = Literal["frozen", "crash", "off"]
_FILE = re.compile(r"[a-z0-9][a-z0-9.-]{0,99}", re.ASCII)
_STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)


class Copied(msgspec.Struct, frozen=True):
    """A file of the backup. `sha256` is hexadecimal, `size` bytes."""

    file: str
    size: int
    sha256: str


class Proof(msgspec.Struct, frozen=True):
    """That the backup was tried. `at`: seconds of the clock; `how`: what was seen, or why nothing was."""

    at: float
    good: bool
    how: str


class Manifest(msgspec.Struct, frozen=True):
    """A backup of the machine `name`, `taken` then (seconds of the clock).

    `recipe` is as `to_dict` makes it; `uuid` and `macs` are what the guest saw, `xml` what libvirt had of it; `disks`
    by their names in the guest ("vda"). Consistency: `frozen` (its agent held the file systems still), `crash` (`why`
    it did not; as after a power cut) or `off`.
    """

    name: str
    taken: float
    recipe: dict[str, Any]
    uuid: str
    macs: list[str]
    consistency: Consistency
    why: str
    disks: dict[str, Copied]
    xml: str
    archives: list[Copied] = []
    """Of a directory: what `samba-tool domain backup` made in the guest."""
    boot: dict[str, Copied] = {}
    """Of a machine that boots its system directly: "kernel" and "initrd"."""
    proofs: list[Proof] = []
    format: int = FORMAT

    @property
    def files(self) -> list[Copied]:
        """All that belongs to it."""
        return [*self.disks.values(), *self.boot.values(), *self.archives]


def encode(manifest: Manifest) -> bytes:
    """For a file that people read, too."""
    return msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"


def decode(data: bytes) -> Manifest:
    """VmError if it is none, or names files elsewhere."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise VmError("refused", f"{FILE} cannot be read ({error}); take another backup") from None
    if manifest.format != FORMAT:
        raise VmError("refused", f"{FILE} is of the format {manifest.format}; this Branchline knows {FORMAT}")
    files = [one.file for one in manifest.files]
    if not all(_FILE.fullmatch(file) for file in files) or len(set(files)) != len(files):
        raise VmError("refused", f"{FILE} names files that no backup has")
    return manifest


def is_stamp(text: str) -> bool:
    """Whether a backup may be called so: 20260131T235900Z, when it was taken."""
    return _STAMP.fullmatch(text) is not None
