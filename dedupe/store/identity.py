"""Whose cache a directory is; what does not fit is not used."""

import secrets
from pathlib import Path
from typing import Annotated

import msgspec

from dedupe.store.files import Files

NAME = "identity"
LARGEST = 1 << 16  # bytes; more is another file


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The two boxes, the channel and the domain that a cache is for, and which of its files belong together.

    cache: a random number that every file of the cache carries. written, received: inodes of the two rings; a copied
    or restored directory has others. incarnation: how often the cache has been opened.
    """

    box: str
    peer: str
    channel: int
    domain: int
    cache: Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]
    written: int
    received: int
    incarnation: int

    def names(self) -> tuple[str, str, int, int]:
        return (self.box, self.peer, self.channel, self.domain)

    def rings(self) -> tuple[int, int]:
        return (self.written, self.received)


def fresh_number() -> int:
    """Random, never 0, and small enough for any JSON reader."""
    return secrets.randbits(53) | 1


def load(directory: Path) -> Identity | None:
    """None if there is none. ValueError if it cannot be understood, OSError if it cannot be read."""
    try:
        with (directory / NAME).open("rb") as file:
            data = file.read(LARGEST)
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=Identity)
    except msgspec.DecodeError as error:
        raise ValueError(f"{directory / NAME}: {error}") from error


def save(files: Files, directory: Path, identity: Identity) -> None:
    files.replace(directory / NAME, msgspec.json.format(msgspec.json.encode(identity)) + b"\n")
