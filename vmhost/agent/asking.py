"""Asking the agent of a machine: by a process (`python -m vmhost.agent`), which is ended when it takes too long."""

from __future__ import annotations

import sys
from typing import Literal, TypeVar

import msgspec

from vmhost.agent.facts import Facts
from vmhost.errors import VmError
from vmhost.health import tool
from vmhost.printable import printable

WITHIN_S = 30.0

T = TypeVar("T")


class Asked(msgspec.Struct, frozen=True):
    """Of the machine `name` on the libvirtd of `uri`."""

    uri: str
    name: str
    do: Literal["look", "set_clock", "shut_down"]


async def look(uri: str, name: str) -> Facts:
    """What the agent says of its guest. VmError if it says nothing in time."""
    return await _ask(Asked(uri, name, "look"), Facts, WITHIN_S)


async def set_clock(uri: str, name: str) -> None:
    """Give the guest the time of this box. VmError if that is not done in time."""
    await _ask(Asked(uri, name, "set_clock"), type(None), WITHIN_S)


async def shut_down(uri: str, name: str, within: float) -> None:
    """Ask the guest to shut down, and wait for it. VmError if it does not do so in time."""
    await _ask(Asked(uri, name, "shut_down"), type(None), within)


async def _ask(asked: Asked, kind: type[T], within: float) -> T:
    typed = msgspec.json.encode(asked).decode()
    said = await tool.run(sys.executable, "-P", "-m", "vmhost.agent", within=within, typed=typed)
    if said.status != 0:
        last = said.complaint if said.status is None else said.err.strip().rpartition("\n")[2]
        raise VmError("failed", printable(last)[:300])
    return msgspec.json.decode(said.out, type=kind)
