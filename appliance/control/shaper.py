"""Keeps the WAN interfaces shaped: to the rates that are configured, and to those that it finds where none is."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from appliance.config import Config
from appliance.control.finding import Finder
from appliance.control.in_force import Emit, InForce
from appliance.control.kernel import Kernel, KernelError
from appliance.control.planes import Planes
from appliance.control.shaping import ROOT, Link, interface_of, links, paths_of
from appliance.rpc import RpcError
from appliance.traffic import minor

CHECK_S = 2.0  # between looks at whether somebody took it away
STEP_S = 0.1  # between looks at what is in force, and at the queues
ANSWER_S = 1.0  # for the data plane
BUSY = 25_000  # bytes/s; an interface that carries less has no queue of our making
NOTABLE = 0.01  # part of a limit below which a change of it waits


@dataclass
class _Unknown:
    """A path whose rate nobody has written: where it leaves, what counts its bytes, and what was found."""

    peer: str
    interface: str
    minor: int
    finder: Finder
    counted: int = 0
    in_force: int = 0
    alone: bool = False
    """Its class counts it; before that only its interface did, with all that leaves there."""

    def sent(self, count: int, elapsed: float) -> float | None:
        """What has left by the path of late, bytes/s, when its class has counted so much; None: the class is new."""
        before, self.counted = self.counted, count
        if not self.alone and before:
            self.alone = True
            self.finder.alone()
        return (count - before) / elapsed if 0 < before <= count else None


class Shaper:
    """`run` until cancelled; the kernel takes it all away at its end. Trouble is an event, and never an end."""

    def __init__(self, in_force: InForce, kernel: Kernel, data: Planes, emit: Emit) -> None:
        self._in_force = in_force
        self._kernel = kernel
        self._data = data
        self._emit = emit
        self._config: Config | None = None
        self._unknown: dict[tuple[str, str], _Unknown] = {}
        self._totals: dict[str, int] = {}
        self._counted = 0.0
        self._wanted: tuple[Link, ...] = ()
        self._looked = 0.0
        self._trouble = ""

    async def run(self) -> None:
        while True:
            try:
                await self._step(time.monotonic())
                self._trouble = ""
            except KernelError as error:
                if str(error) != self._trouble:
                    self._emit("shaping.failed", "error", f"the WAN is not shaped: {error}", {})
                self._trouble = str(error)
            await asyncio.sleep(STEP_S)

    async def _step(self, now: float) -> None:
        config = self._in_force.config
        changed = config is not self._config
        if changed:
            known = self._unknown
            self._unknown = {key: known.get(key, unknown) for key, unknown in _unknown(config).items()}
        if self._unknown:
            await self._find(now)
        wanted = links(config, {key: one.in_force for key, one in self._unknown.items()})
        if changed or wanted != self._wanted:
            await self._kernel.shape(wanted, self._in_force.spec)
            self._wanted, self._config = wanted, config
        elif now - self._looked < CHECK_S:
            return
        elif not await self._kernel.shaped(wanted):
            await self._kernel.shape(wanted, self._in_force.spec)
            self._emit("kernel.restored", "warning", "somebody else removed the WAN's shaper; put back", {})
        self._looked = now

    async def _find(self, now: float) -> None:
        """Asks for the queues before busy paths, and moves their limits."""
        totals = await self._kernel.sent()
        elapsed, self._counted = now - self._counted, now
        rates = {name: (count - self._totals.get(name, count)) / elapsed for name, count in totals.items()}
        self._totals = totals
        busy = [one for one in self._unknown.values() if rates.get(one.interface, 0.0) > BUSY or one.in_force]
        if not busy:
            return
        try:
            answers = await self._data.call("sound", {"peers": [one.peer for one in busy]}, within=ANSWER_S)
        except RpcError:
            return  # it is not there to be asked; what was found holds meanwhile
        interfaces = {one.interface for one in self._unknown.values() if one.in_force}
        classes = {name: await self._kernel.sent_in(name) for name in interfaces}
        for key, one in self._unknown.items():
            answer = answers.get(one.peer)
            sent: float | None = rates.get(one.interface, 0.0)
            one.alone = one.alone and one.in_force > 0
            if one.in_force:  # its class tells, once it has one
                sent = one.sent(classes[one.interface].get(one.minor, 0), elapsed)
            if sent is not None and answer and answer["depths"] and answer["path"] == key[1]:
                limit = one.finder.step(now, min(answer["depths"]), sent, answer["rtt"])
                if abs(limit - one.in_force) > NOTABLE * one.in_force:
                    one.in_force = limit


def _unknown(config: Config) -> dict[tuple[str, str], _Unknown]:
    """By peer and path."""
    return {
        (str(peer.id), str(path.name)): _Unknown(
            str(peer.id),
            interface_of(config, path),
            ROOT if peer.dials else minor(number),
            Finder(),
        )
        for number, peer in enumerate(config.peers, 1)
        for path in paths_of(peer)
        if not path.rate
    }
