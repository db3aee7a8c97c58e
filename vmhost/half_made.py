"""How far the disks of a machine that is being made have come: so that a copy which was cut off goes on."""

from __future__ import annotations

from pathlib import Path

import msgspec

from vmhost import durable

MARK = ".incomplete"
"""A file in the directory of a machine that counts for nothing yet."""


class HalfMade(msgspec.Struct):
    """What is written beside the disks."""

    recipe: str
    sources: list[tuple[int, int]]
    """Bytes and time of change (ns) of each disk's image; zeros of a disk that has none."""
    copied: dict[str, int]
    """Bytes of the image that are on a disk, by its name."""

    def goes_on_with(self, other: HalfMade) -> bool:
        """Whether `other` is to become the same machine."""
        return (self.recipe, self.sources) == (other.recipe, other.sources)

    def write(self, directory: Path) -> None:
        """For good, in the place of what was there. OSError as it comes."""
        durable.replace(directory / MARK, msgspec.json.encode(self))


def read(directory: Path) -> HalfMade | None:
    """Of the machine in `directory`; None if it is whole, or nothing can be made of the mark."""
    try:
        return msgspec.json.decode((directory / MARK).read_bytes(), type=HalfMade)
    except (OSError, msgspec.DecodeError):
        return None
