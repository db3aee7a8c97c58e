"""What people ask about this host and its machines, and nothing is changed by."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import asdict

from vmhost import calls
from vmhost.abilities import EMULATORS, Abilities, disk_left, memory_left
from vmhost.agent.watch import Agents
from vmhost.errors import VmError
from vmhost.guarantees import Guarantees
from vmhost.health.watch import Watch
from vmhost.machines import Machines, Tree
from vmhost.processes import emulator, resident
from vmhost.room import memory_to_spare

SOCKET_MODE = 0o600


class Looking:
    """At all `machines`, and at what this host can do."""

    def __init__(
        self,
        machines: Machines,
        abilities: Abilities,
        guarantees: Guarantees,
        health: Watch,
        agents: Agents,
    ) -> None:
        self._machines = machines
        self._abilities = abilities
        self._guarantees = guarantees
        self._health = health
        self._agents = agents

    async def host(self) -> Tree:
        """What this host can do, and why not more."""
        guests = {}
        for arch in EMULATORS:
            ability = await self._abilities.guest(arch)
            guests[arch] = {"accelerator": ability.accelerator, "why": ability.why}
        link, directory = self._machines.link, self._machines.storage.directory
        version, memory = "", memory_left()
        with contextlib.suppress(VmError):
            version = await link.do(calls.version)
            memory = await memory_to_spare(link)
        return {
            "libvirt": {"up": not link.trouble, "version": version, "why": link.trouble},
            "guests": guests,
            "cpus": os.cpu_count(),
            "memory_left": memory,
            "directory": str(directory),
            "disk_left": await asyncio.to_thread(disk_left, directory),
            "rss": {"branchline": resident(os.getpid()), "guests": self._guests()},
            "guarantees": {name: asdict(held) for name, held in sorted(self._guarantees.held.items())},
        }

    def _guests(self) -> dict[str, int]:
        """Bytes of memory that the QEMU of each running machine has."""
        found = {}
        for name in sorted(self._guarantees.held):
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                found[name] = resident(emulator(name))
        return found

    async def machines(self) -> list[Tree]:
        """All of them, also those that are being made, or were until a crash."""
        making = self._machines.making
        found = [
            {
                "name": one.name,
                "state": one.state,
                "why": one.stands,
                "health": self._health.state(one.name),
                "autostart": one.autostart,
                "memory": one.recipe.get("memory"),
                "vcpus": one.recipe.get("vcpus"),
                "arch": one.recipe.get("arch"),
                "backing_up": self._machines.backing_up.get(one.name),
                "guest": None if one.state == "off" else self._agents.told(one.name),
            }
            for one in await self._machines.link.do(calls.survey)
            if one.name not in making
        ]
        now = [{"name": name, "state": "being made", "progress": part} for name, part in making.items()]
        there = {one["name"] for one in now + found}
        half = [
            {"name": name, "state": "half made"}
            for name in await asyncio.to_thread(self._machines.storage.half_made)
            if name not in there
        ]
        return sorted(now + half + found, key=lambda one: str(one["name"]))

    async def show(self, name: str) -> Tree:
        """One of them."""
        for one in await self.machines():
            if one["name"] == name:
                return one
        self._machines.must_know(name)
        raise VmError("failed", f"{name} changes just now; try again")

    async def console(self, name: str) -> Tree:
        """The device of its serial console."""
        self._machines.must_know(name)
        device = await self._machines.link.do(lambda connection: calls.console(connection, name))
        if device is None:
            raise VmError("refused", f"{name} is off; `branchline vm start {name}` first")
        return {"name": name, "device": device}

    async def display(self, name: str) -> Tree:
        """The VNC socket of a machine whose recipe has `display`, for root alone."""
        self._machines.must_know(name)
        socket = await self._machines.link.do(lambda connection: calls.display(connection, name))
        if socket is None:
            raise VmError(
                "refused", f"{name} has no display: it is off, or its recipe has not `display = true`"
            )
        try:
            os.chmod(socket, SOCKET_MODE)
        except OSError as error:
            raise VmError("failed", f"{socket}: {error.strerror}") from None
        return {"name": name, "socket": socket, "mode": f"{SOCKET_MODE:04o}"}

    async def statistics(self, name: str) -> Tree:
        """libvirt's counters."""
        self._machines.must_know(name)
        return await self._machines.link.do(lambda connection: calls.statistics(connection, name))
