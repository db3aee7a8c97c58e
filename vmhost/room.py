"""Whether one more machine has room, and what it needs, on this box beside the router and the machines that run."""

from __future__ import annotations

import os
from pathlib import Path

from vmhost import calls
from vmhost.abilities import memory_left
from vmhost.domain import firmware
from vmhost.errors import VmError
from vmhost.firmware import missing
from vmhost.link import Link
from vmhost.recipe import Recipe
from vmhost.values import MIB, show_size

MEMORY_RESERVE = 256 * MIB  # the router may still come to need it


async def memory_to_spare(link: Link) -> int:
    """Bytes for further machines. What running ones have not touched yet is theirs."""
    return max(0, memory_left() - MEMORY_RESERVE - await link.do(calls.untouched))


async def memory_fits(link: Link, memory: int) -> None:
    """VmError if there are not so many bytes for a machine."""
    left = await memory_to_spare(link)
    if memory > left:
        raise VmError(
            "refused",
            f"memory: the machine is to have {show_size(memory)}, this box has {show_size(left)} to spare; "
            "use less, or stop another machine",
        )


def equipment_fits(recipe: Recipe) -> None:
    """VmError if this box has not the processors, the firmware or a bridge that a recipe names."""
    cpus = os.cpu_count() or 1
    if recipe.vcpus > cpus:
        raise VmError("refused", f"vcpus: this box has {cpus}; use at most so many")
    if problem := missing(recipe.arch, firmware(recipe)):
        raise VmError("refused", f"firmware: {problem}")
    for at, network in enumerate(recipe.networks):
        if not Path("/sys/class/net", network.bridge, "bridge").is_dir():
            raise VmError(
                "refused",
                f"networks[{at}].bridge: there is no bridge {network.bridge}; "
                "`ip link show type bridge` lists those there are",
            )
