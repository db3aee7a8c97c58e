"""The two slots of a machine: in one is the system that it boots, in the other the one before, or the next one.

`Slots` is pure: each step of an update is a new value of it. It is written down before libvirt is told, so that after a
crash or a power cut at any point it says what is to be booted; a slot that was never proved healthy never becomes the
`active` one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from vmhost import durable
from vmhost.errors import VmError

Slot = Literal["a", "b"]

_RECORD = "slots.json"


@dataclass(frozen=True)
class Slots:
    """`active` has proved healthy; `trying` has not yet."""

    active: Slot = "a"
    trying: Slot | None = None

    @property
    def booted(self) -> Slot:
        """What the machine boots."""
        return self.trying or self.active

    @property
    def spare(self) -> Slot:
        """Where the next system is written."""
        return "b" if self.active == "a" else "a"

    def tried(self) -> Slots:
        """The spare one is to be booted, and proved."""
        return Slots(self.active, self.spare)

    def proved(self) -> Slots:
        """What was tried is healthy."""
        return Slots(self.booted)

    def undone(self) -> Slots:
        """What was tried is not, or nobody knows."""
        return Slots(self.active)


def slot_directory(machine: Path, slot: Slot) -> Path:
    """Where the files of a slot are, in the directory of its machine."""
    return machine / f"slot-{slot}"


def read(machine: Path) -> Slots | None:
    """Of the machine with that directory; None if it has no slots, VmError if they cannot be made out."""
    try:
        return msgspec.json.decode((machine / _RECORD).read_bytes(), type=Slots)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise VmError("failed", f"{machine / _RECORD} cannot be read: {error}") from None


def write(machine: Path, slots: Slots) -> None:
    """There as before or as it is now, also after a power cut."""
    durable.replace(machine / _RECORD, msgspec.json.encode(slots))
