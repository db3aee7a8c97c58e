"""What every operation on the machines of this box is given: libvirt's ear, the disks, and what is known of each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from vmhost import calls
from vmhost.errors import VmError
from vmhost.link import Link
from vmhost.recipe import Recipe, from_dict
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
        self.held: dict[str, str] = {}
        """Those that something else is under way with that needs them to itself, and what is done: "updated"."""
        self._unreadable: set[str] = set()  # told that their recipe is
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

    def doing(self, name: str) -> str:
        """What is under way with a machine that needs it to stay as it is; empty if nothing."""
        if name in self.held:
            return self.held[name]
        if name in self.making:
            return "made"
        if name in self.abandoned:
            return "taken back"
        return "backed up" if name in self.backing_up else ""

    def must_be_left(self, name: str, *but: str) -> None:
        """VmError while something is under way with a machine, `but` for that."""
        doing = self.doing(name)
        if not doing or doing in but:
            return
        give_up = f", or give it up: `branchline vm backup {name} --cancel`" if doing == "backed up" else ""
        raise VmError("refused", f"{name} is being {doing}; try again when that is done{give_up}")

    @contextlib.contextmanager
    def holding(self, name: str, doing: str, *but: str) -> Iterator[None]:
        """Nobody else changes the machine meanwhile; VmError if somebody does already, `but` for that."""
        self.must_be_left(name, *but)
        self.held[name] = doing
        try:
            yield
        finally:
            del self.held[name]

    def recipe(self, found: calls.Found) -> Recipe | None:
        """Of a machine; None, and an event, if what libvirt keeps of it cannot be read: that must not hide others."""
        try:
            recipe = from_dict(found.recipe, found.name)
        except VmError as error:
            if found.name not in self._unreadable:
                self._unreadable.add(found.name)
                text = (
                    f"{found.name} is neither backed up by itself nor checked: what libvirt keeps of its recipe cannot "
                    f"be read ({error}); `virsh edit {found.name}`, or make it anew from a backup"
                )
                self.tell("vm.recipe_bad", "error", text, {"vm": found.name})
            return None
        self._unreadable.discard(found.name)
        return recipe

    async def state(self, name: str) -> str:
        """As `calls.survey` names them."""
        found = await self.link.do(calls.survey)
        return next((one.state for one in found if one.name == name), "off")
