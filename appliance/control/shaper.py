"""Keeps the WAN interfaces shaped as the configuration says, whoever else takes that away meanwhile."""

from __future__ import annotations

import asyncio
import time

from appliance.config import Config
from appliance.control.in_force import Emit, InForce
from appliance.control.kernel import Kernel, KernelError
from appliance.control.shaping import Link, links

CHECK_S = 2.0  # between looks at the kernel
STEP_S = 0.2  # between looks at what is in force


class Shaper:
    """`run` until cancelled; the kernel takes it all away at its end. Trouble is an event, and never an end."""

    def __init__(self, in_force: InForce, kernel: Kernel, emit: Emit) -> None:
        self._in_force = in_force
        self._kernel = kernel
        self._emit = emit
        self._config: Config | None = None
        self._wanted: tuple[Link, ...] = ()
        self._looked = 0.0
        self._trouble = ""

    async def run(self) -> None:
        while True:
            try:
                await self._step()
                self._trouble = ""
            except KernelError as error:
                if str(error) != self._trouble:
                    self._emit("shaping.failed", "error", f"the WAN is not shaped: {error}", {})
                self._trouble = str(error)
            await asyncio.sleep(STEP_S)

    async def _step(self) -> None:
        config, now = self._in_force.config, time.monotonic()
        if config is not self._config:
            self._wanted = links(config, {})
            await self._kernel.shape(self._wanted, self._in_force.spec)
            self._config = config
        elif now - self._looked < CHECK_S:
            return
        elif not await self._kernel.shaped(self._wanted):
            await self._kernel.shape(self._wanted, self._in_force.spec)
            self._emit("kernel.restored", "warning", "somebody else removed the WAN's shaper; put back", {})
        self._looked = now
