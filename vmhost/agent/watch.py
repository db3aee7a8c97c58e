"""The agents of the machines that run: asked again and again, told when they come and go; and their guests' clocks."""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec

from vmhost import calls
from vmhost.agent import asking
from vmhost.agent.standing import EVERY_S, Standing
from vmhost.errors import VmError
from vmhost.machines import Machines, Tree
from vmhost.running import Running

_REST_S = 1.0  # between two looks, however often something stirs
_ASLEEP_S = 1.0  # the box has slept if that is by how much its clocks disagree


class _Watched:
    def __init__(self) -> None:
        self.standing = Standing(time.monotonic())
        self.task: asyncio.Task[None] | None = None


class Agents:
    """Of all `machines`, which `running` hears of."""

    def __init__(self, machines: Machines, running: Running) -> None:
        self._machines = machines
        self._watched: dict[str, _Watched] = {}
        self._stirred = asyncio.Event()
        self._slept = _slept()
        machines.link.on_agent = self._stirred.set
        running.on_change.append(self._changed)
        running.on_stock.append(self._stirred.set)

    def told(self, name: str) -> Tree:
        """What is known of the guest of a machine that runs."""
        watched = self._watched.get(name) or _Watched()  # one that has just been started is seen in a moment
        standing = watched.standing
        known = {} if standing.facts is None else msgspec.to_builtins(standing.facts)
        return {
            "agent": standing.state,
            "why": standing.trouble,
            "age": standing.age(time.monotonic()),
            **known,
        }

    async def shut_down(self, name: str, within: float) -> None:
        """Have the guest shut down by its agent, if it has one."""
        if name in self._watched and self._watched[name].standing.state != "absent":
            with contextlib.suppress(VmError):  # who stops it sees that it goes on
                await asking.shut_down(self._machines.link.uri, name, within)

    async def run(self) -> None:
        """Ask those that are due, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                next_one = min((one.standing.next() for one in self._watched.values()), default=EVERY_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, min(next_one - time.monotonic(), EVERY_S))):
                        await self._stirred.wait()
                self._stirred.clear()
                with contextlib.suppress(VmError):  # libvirtd is gone; that is an event
                    await self._look()
                self._note_sleep()
                now = time.monotonic()
                for name, one in self._watched.items():
                    self._tell(name, one.standing.news(now))
                    if one.task is None and one.standing.is_due(now):
                        one.task = tasks.create_task(self._ask(name, one))
                await asyncio.sleep(_REST_S)

    async def _look(self) -> None:
        """Which machines run, and whose agents have opened their channels."""
        names = self._machines.known.keys() - self._machines.making.keys()
        there = await self._machines.link.do(lambda connection: calls.agents(connection, names))
        now = time.monotonic()
        for name in self._watched.keys() - there.keys():
            gone = self._watched.pop(name)
            if gone.task is not None:
                gone.task.cancel()
        for name, connected in there.items():
            self._watched.setdefault(name, _Watched()).standing.seen(connected, now)

    def _changed(self, name: str, event: int, detail: int) -> None:
        self._stirred.set()
        if event not in (calls.STARTED, calls.RESUMED):
            return
        standing = self._watched.setdefault(name, _Watched()).standing
        if event == calls.STARTED and detail == calls.STARTED_BOOTED:
            standing.booted()  # of a start libvirt tells as of a resumption first
        else:
            standing.late(time.monotonic())

    def _note_sleep(self) -> None:
        slept = _slept()
        if slept - self._slept > _ASLEEP_S:
            for one in self._watched.values():
                one.standing.late(time.monotonic())
        self._slept = slept

    def _tell(self, name: str, connected: bool | None) -> None:
        if connected is not None:
            text = f"{name}'s guest agent {'is there' if connected else 'is gone'}"
            self._machines.tell("vm.agent", "info", text, {"vm": name, "connected": connected})

    async def _ask(self, name: str, one: _Watched) -> None:
        uri, standing, found, trouble = self._machines.link.uri, one.standing, None, ""
        if standing.is_late:
            await self._set_clock(name, standing)
        try:
            found = await asking.look(uri, name)
        except VmError as error:
            trouble = str(error)
        standing.said(found, trouble, time.monotonic())
        one.task = None

    async def _set_clock(self, name: str, standing: Standing) -> None:
        try:
            await asking.set_clock(self._machines.link.uri, name)
        except VmError as error:
            if standing.clock_is_set(done=False):
                text = f"{name} has stood still, and its clock could not be set by its agent: {error}; set it there"
                self._machines.tell("vm.clock_unset", "warning", text, {"vm": name})
            return
        standing.clock_is_set(done=True)
        text = f"{name} had stood still: its clock has been set by its agent"
        self._machines.tell("vm.clock_set", "info", text, {"vm": name})


def _slept() -> float:
    """Seconds that this box has been suspended since it was booted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
