"""All of the kernel's state that control owns: fate table, policy routes, settings, shapers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from appliance.control import counts, routes
from appliance.control.qdiscs import Qdiscs
from appliance.control.shaping import Link
from appliance.control.sysctls import Sysctls
from appliance.intercept import NftError, PassedFlow, passed_flows
from appliance.intercept.fate import Fate
from appliance.intercept.marks import SYSCTLS
from appliance.intercept.specs import BoxSpec

Result = TypeVar("Result")


class KernelError(Exception):
    """The kernel refused; the message is its reason."""


class Kernel:
    """Every call runs in one thread of its own, where nftables' sockets live. Methods raise KernelError.

    What is put in place stays when the process dies, and is found again by the next one.
    """

    def __init__(self, run_dir: Path) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kernel")
        self._sysctls = Sysctls(SYSCTLS, run_dir / "sysctls.json")
        self._fate: Fate | None = None
        self._qdiscs: Qdiscs | None = None

    async def open(self, spec: BoxSpec) -> None:
        """Put everything in place. The fate table comes first: before it nothing may be intercepted.

        If that cannot be, nothing of it stays; but what an earlier control has left is left: flows depend on it.
        """
        await self._do(lambda: self._open(spec))

    async def apply(self, spec: BoxSpec) -> None:
        """Replace the fate table by that of another spec, in one transaction or not at all."""
        await self._do(lambda: self._its_fate().apply(spec))

    async def restore(self, spec: BoxSpec) -> list[str]:
        """Put back what somebody else has taken away; says what that was."""
        return await self._do(lambda: self._restore(spec))

    async def counters(self) -> dict[str, int]:
        """Packets that the fate table has refused, by its counters' names."""
        return await self._do(lambda: self._its_fate().counters())

    async def passed(self, limit: int) -> list[PassedFlow]:
        """Up to `limit` flows that passed through."""
        return await self._do(lambda: passed_flows(limit))

    async def shape(self, links: tuple[Link, ...], spec: BoxSpec) -> None:
        """Shape exactly these WAN interfaces."""
        await self._do(lambda: self._its_qdiscs().apply(links, spec))

    async def shaped(self, links: tuple[Link, ...]) -> bool:
        """Whether the shapers are as `shape` has made them."""
        return await self._do(lambda: self._its_qdiscs().whole(links))

    async def sent(self) -> dict[str, int]:
        """Bytes that have left by each interface."""
        return await self._do(counts.by_interface)

    async def sent_in(self, interface: str) -> dict[int, int]:
        """Bytes that have left in each class of an interface's shaper, by its minor number."""
        return await self._do(lambda: counts.by_class(interface))

    async def remove(self) -> None:
        """Leave the kernel as it was found, and close."""
        try:
            await self._do(self._remove)
        finally:
            self._thread.shutdown()

    async def _do(self, work: Callable[[], Result]) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (OSError, NftError) as error:
            raise KernelError(str(error)) from error

    def _its_fate(self) -> Fate:
        if self._fate is None:
            self._fate = Fate()
        return self._fate

    def _its_qdiscs(self) -> Qdiscs:
        if self._qdiscs is None:
            self._qdiscs = Qdiscs()
        return self._qdiscs

    def _open(self, spec: BoxSpec) -> None:
        inherited = self._its_fate().present()
        try:
            self._its_fate().apply(spec)
            routes.ensure()
            self._sysctls.ensure()
        except (OSError, NftError):
            if not inherited:
                self._remove()
            raise

    def _restore(self, spec: BoxSpec) -> list[str]:
        found = []
        if not self._its_fate().present():
            self._its_fate().apply(spec)
            found.append("the table of fates")
        if routes.ensure():
            found.append("policy routes")
        found += [f"sysctl {name}" for name in self._sysctls.ensure()]
        return found

    def _remove(self) -> None:
        with (
            contextlib.ExitStack() as stack
        ):  # each is tried, whatever becomes of the others; the last comes first
            stack.callback(self._its_fate().close)
            stack.callback(self._its_fate().remove)
            stack.callback(routes.remove)
            stack.callback(self._its_qdiscs().close)
            stack.callback(self._its_qdiscs().remove)
            stack.callback(self._sysctls.restore)
