"""What every operation on the machines of this box is given: libvirt's ear, the disks, and what is known of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from vmhost import calls
from vmhost.errors import VmError
from vmhost.link import Link
from vmhost.storage import Storage
from vmhost.values import is_name

Severity = Literal["info", "warning", "error"]
Tell = Callable[[str, Severity, str, dict[str, Any]], None]
Tree = dict[str, Any]


@dataclass(frozen=True)
class Known:
    """What of a machine's recipe matters while it is there. stop_within: seconds, memory: bytes."""

    stop_within: float
    autostart: bool
    memory: int


def known(found: calls.Found) -> Known:
    """From what libvirt keeps of it."""
    recipe = found.recipe
    return Known(recipe.get("stop_within", 90), found.autostart, recipe.get("memory", 0))


class Machines:
    """`link` to libvirtd, `storage` of the disks; `tell` hears what happens: kind, severity, text, evidence."""

    def __init__(self, link: Link, storage: Storage, tell: Tell) -> None:
        self.link = link
        self.storage = storage
        self.tell = tell
        self.known: dict[str, Known] = {}
        """Our machines, as of the last look at libvirtd."""
        self.making: dict[str, float] = {}
        """Those that are being made, and the fraction that is done."""
        self.backing_up: dict[str, float] = {}
        """Those that a backup is taken of, and the fraction that is done."""
        self.updating: set[str] = set()
        """Those that are given a new system: they are off for a moment."""
        self.abandoned: set[str] = set()
        """Those that could not be made, nor taken back because libvirtd was lost."""

    def must_know(self, name: str) -> Known:
        """One of our machines; VmError if it is none, or libvirtd is not there."""
        if self.link.trouble:
            raise VmError("unavailable", self.link.trouble)
        if not is_name(name) or name not in self.known:
            names = ", ".join(sorted(self.known)) or "none"
            raise VmError("not_found", f'there is no machine "{name}"; the machines are: {names}')
        return self.known[name]

    def must_be_left(self, name: str) -> None:
        """VmError while something is under way with a machine that needs it to stay."""
        for doing, names in (
            ("made", self.making.keys()),
            ("backed up", self.backing_up.keys()),
            ("updated", self.updating),
        ):
            if name in names:
                raise VmError("refused", f"{name} is being {doing}; try again when that is done")

    async def state(self, name: str) -> str:
        """As `calls.survey` names them."""
        found = await self.link.do(calls.survey)
        return next((one.state for one in found if one.name == name), "off")
