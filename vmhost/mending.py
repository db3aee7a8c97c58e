"""Machines that stand still though nobody paused them, and what the loss of libvirtd has left undone."""

from __future__ import annotations

import asyncio
import contextlib
import time

from vmhost import calls
from vmhost.abilities import disk_left
from vmhost.errors import VmError
from vmhost.link import CHANGE_S
from vmhost.machines import Machines
from vmhost.processes import forget_state
from vmhost.running import Running
from vmhost.values import MIB, show_size

LOOK_AGAIN_S = 5.0
STUCK_LOOKS = 4
ROOM = 64 * MIB  # a machine whose disk was full goes on when so much is free
STEADY_S = 60.0  # it does so only once in this time


class Mending:
    """Of all `machines`, with `running`, which looks after the others."""

    def __init__(self, machines: Machines, running: Running) -> None:
        self._machines = machines
        self._running = running
        self._starting: dict[str, int] = {}  # found in the middle of their start by so many looks
        self._libvirtd = 0  # the how manieth it was
        self._full: set[str] = set()  # told that their disk is full
        self._resumed: dict[str, float] = {}

    async def run(self) -> None:
        """Look whenever something has happened, and again while a machine stands still. Until cancelled."""
        stirred, trouble = self._running.stalled, ""
        while True:
            waiting = self._starting or self._full or self._machines.abandoned
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S if waiting else None):
                    await stirred.wait()
            stirred.clear()
            try:
                await self._look()
                trouble = ""
            except VmError:  # who keeps the connection says so, and stirs when it is back
                continue
            except OSError as error:
                text = f"machines that stand still cannot be looked after: {error}"
                if text != trouble:
                    self._machines.tell("vm.unmended", "error", text, {})
                trouble = text

    async def _look(self) -> None:
        machines = self._machines
        if machines.link.connects != self._libvirtd:
            self._libvirtd = machines.link.connects
            self._starting.clear()
        found = [one for one in await machines.link.do(calls.survey) if one.name not in machines.making]
        full = {one.name for one in found if one.stands == "disk full"}
        # A start takes a moment: who is in the middle of it twice has been left there.
        self._starting = {
            one.name: self._starting.get(one.name, 0) + 1 for one in found if one.stands == "cut off"
        }
        for name, looks in self._starting.items():
            if looks > 1 or name in machines.abandoned:
                self._running.end_start(name)
            if looks == STUCK_LOOKS:
                # libvirt 9.0 holds on to a start that was cut off, over its own restart, QEMU or no QEMU.
                forget_state(name)
                self._say_stuck(name)
        for one in found:
            if one.state == "off" and one.name not in machines.abandoned:
                self._running.started_not(one.name)
        for name in sorted(machines.abandoned - self._starting.keys()):
            if name not in machines.held and name not in machines.making:
                await self._take_back(name)
        for name in sorted(full - self._full):
            await self._say_full(name)
        self._full = full
        left, now = await self._left() if full else 0, time.monotonic()
        self._resumed = {name: then for name, then in self._resumed.items() if now - then < STEADY_S}
        for name in sorted(full):
            if left >= ROOM and name not in self._resumed:
                self._resumed[name] = now
                self._full.discard(name)
                await machines.link.do(lambda connection, name=name: calls.resume(connection, name), CHANGE_S)  # type: ignore[misc]
                text = f"{name} goes on: there is room for its disks again"
                machines.tell("vm.resumed", "info", text, {"vm": name, "free": left})

    def _say_stuck(self, name: str) -> None:
        text = (
            f"{name} was left in the middle of its start when libvirtd was lost, and libvirtd does not let go of it: "
            "`systemctl restart libvirtd` and all is well; machines that run go on running"
        )
        self._machines.tell("vm.stuck", "error", text, {"vm": name})

    async def _left(self) -> int:
        """Bytes for disks that grow."""
        return await asyncio.to_thread(disk_left, self._machines.storage.directory)

    async def _say_full(self, name: str) -> None:
        directory, left = self._machines.storage.directory, await self._left()
        text = (
            f"{name} stands still: its disk cannot grow, {directory} has {show_size(left)} left; "
            f"free {show_size(ROOM)} there and it goes on by itself, nothing is lost"
        )
        evidence = {"vm": name, "directory": str(directory), "free": left, "needed": ROOM}
        self._machines.tell("vm.disk_full", "error", text, evidence)

    async def _take_back(self, name: str) -> None:
        """What was made of a machine when libvirtd was lost."""
        machines = self._machines
        for undo in (calls.force_off, calls.undefine):
            try:
                await machines.link.do(lambda connection, undo=undo: undo(connection, name), CHANGE_S)  # type: ignore[misc]
            except VmError as error:
                if error.kind != "not_found":
                    raise
        await asyncio.to_thread(machines.storage.remove, name)
        machines.abandoned.discard(name)
        text = f"{name} could not be made when libvirtd was lost; what there was of it is deleted"
        machines.tell("vm.swept", "warning", text, {"vm": name})
