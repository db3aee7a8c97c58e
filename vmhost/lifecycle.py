"""A machine is started, stopped, forced off, restarted, deleted."""

from __future__ import annotations

import asyncio
import time

from vmhost import calls
from vmhost.agent.watch import Agents
from vmhost.errors import VmError
from vmhost.link import CHANGE_S
from vmhost.machines import Machines, Tree
from vmhost.room import memory_fits
from vmhost.running import Running
from vmhost.values import is_name

PRESS_AGAIN_S = (
    10.0  # a guest that is just booting misses the power button, others ignore it: then its agent is asked
)
FORCED_OFF_S = 30.0


class Lifecycle:
    """Of all `machines`."""

    def __init__(self, machines: Machines, running: Running, agents: Agents) -> None:
        self._machines = machines
        self._running = running
        self._agents = agents

    async def start(self, name: str) -> Tree:
        """Start a machine that is off."""
        memory = self._machines.must_know(name).memory
        self._machines.must_be_left(name)
        if await self._machines.state(name) == "off":
            await memory_fits(self._machines.link, memory)
        try:
            await self._machines.link.do(lambda connection: calls.start(connection, name), CHANGE_S)
        except VmError as error:
            if error.kind == "unavailable":
                self._running.wanted(name)  # nobody can say how far it got
            raise
        return {"name": name, "state": "running"}

    async def stop(self, name: str) -> Tree:
        """Ask the guest to shut down and wait, as long as its recipe allows. It stays off."""
        self._machines.must_know(name)
        with self._machines.holding(name, "stopped"):
            return await self.shut_down(name)

    async def shut_down(self, name: str) -> Tree:
        """As `stop`, for who holds the machine."""
        within = self._machines.must_know(name).stop_within
        self._running.let_go(name)
        asking = asyncio.create_task(self._ask_agent(name, within))
        try:
            if await self._pressed(name, within):
                return {"name": name, "state": "off"}
        finally:
            asking.cancel()
        self._running.wanted(name)
        raise VmError(
            "failed",
            f"{name} has not shut down within {within:g} s and still runs; `branchline vm kill {name}` "
            "ends it as pulling its plug would",
        )

    async def _pressed(self, name: str, within: float) -> bool:
        """Press the power button again and again. Whether the machine has ended."""
        deadline = time.monotonic() + within
        with self._running.ending(name) as ended:
            while (left := deadline - time.monotonic()) > 0:
                if not await self._machines.link.do(
                    lambda connection: calls.press_power_button(connection, name), CHANGE_S
                ):
                    return True
                done, _ = await asyncio.wait((ended,), timeout=min(left, PRESS_AGAIN_S))
                if done:
                    ended.result()
                    return True
        return False

    async def _ask_agent(self, name: str, within: float) -> None:
        """One that has ignored the power button, while there is time."""
        wait = min(PRESS_AGAIN_S, within / 2)
        await asyncio.sleep(wait)
        await self._agents.shut_down(name, within - wait)

    async def kill(self, name: str) -> Tree:
        """End a machine as pulling its plug would. It stays off. A backup of it that is under way fails."""
        self._machines.must_know(name)
        self._machines.must_be_left(name, "stopped", "backed up")
        return await self.pull_plug(name)

    async def pull_plug(self, name: str) -> Tree:
        """As `kill`, for who holds the machine."""
        self._running.let_go(name)
        with self._running.ending(name) as ended:
            if await self._machines.link.do(lambda connection: calls.force_off(connection, name), CHANGE_S):
                await asyncio.wait((ended,), timeout=FORCED_OFF_S)
        return {"name": name, "state": "off"}

    async def restart(self, name: str) -> Tree:
        """Stop it orderly, then start it."""
        await self.stop(name)
        return await self.start(name)

    async def delete(self, name: str, *, disks: bool) -> Tree:
        """Forget a machine that is off, and its `disks` if they are to go as well."""
        machines = self._machines
        half = is_name(name) and name not in machines.known and machines.storage.is_half_made(name)
        if not half:
            machines.must_know(name)
        with machines.holding(name, "deleted"):
            if half:
                await asyncio.to_thread(machines.storage.remove, name)
                return {"name": name, "kept": ""}
            return await self.forget(name, disks=disks)

    async def forget(self, name: str, *, disks: bool) -> Tree:
        """As `delete`, for who holds the machine."""
        machines = self._machines
        if await machines.state(name) != "off":
            raise VmError("refused", f"{name} runs; `branchline vm stop {name}` first")
        self._running.forget(name)
        if disks:
            await asyncio.to_thread(machines.storage.doom, name)
        try:
            await machines.link.do(lambda connection: calls.undefine(connection, name), CHANGE_S)
        except VmError as error:
            if disks and error.kind != "unavailable":  # else it shows when libvirtd is back
                await asyncio.to_thread(machines.storage.complete, name)
            raise
        machines.known.pop(name, None)
        kept = str(machines.storage.of(name))
        if disks:
            await asyncio.to_thread(machines.storage.remove, name)
            kept = ""
        what = f"its disks are kept in {kept}" if kept else "and its disks"
        machines.tell("vm.deleted", "info", f"{name} has been deleted, {what}", {"vm": name, "kept": kept})
        return {"name": name, "kept": kept}
