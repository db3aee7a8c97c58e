"""A machine that gives way to what a backup makes of it: beside its disks lies what makes it one again."""

from __future__ import annotations

from pathlib import Path

import msgspec

from vmhost import durable
from vmhost.errors import VmError

NOTE = ".gave-way"


class GaveWay(msgspec.Struct, frozen=True):
    """To a backup, whose path is `backup`. `xml` is libvirt's definition; empty if there were only disks.

    When the other is made `outcome` is said, and of the disks `beware`.
    """

    backup: str
    outcome: str
    beware: str = ""
    xml: str = ""
    autostart: bool = False

    def write(self, directory: Path) -> None:
        """Beside the disks, for good. OSError as it comes."""
        durable.replace(directory / NOTE, msgspec.json.encode(self), mode=0o600)


def read(directory: Path) -> GaveWay | None:
    """Of the machine whose disks are in `directory`; None if it has not given way. OSError; VmError if unclear."""
    try:
        return msgspec.json.decode((directory / NOTE).read_bytes(), type=GaveWay)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise VmError("failed", f"{directory / NOTE} cannot be read: {error}") from None


def settle(directory: Path) -> None:
    """Nothing is to be made of it any more."""
    (directory / NOTE).unlink(missing_ok=True)
    durable.sync(directory)
