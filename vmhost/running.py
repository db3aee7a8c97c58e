"""What keeps machines running: libvirt's events come in, crashed machines are started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

from vmhost import calls
from vmhost.errors import VmError
from vmhost.guarantees import Guarantees
from vmhost.keeper import Keeper
from vmhost.link import CHANGE_S
from vmhost.machines import Machines, known
from vmhost.processes import emulator
from vmhost.wishes import Wishes


class Running:
    """Of all `machines`."""

    def __init__(self, machines: Machines, wishes: Wishes, guarantees: Guarantees) -> None:
        self._machines = machines
        self._wishes = wishes
        self._guarantees = guarantees
        self._keeper = Keeper()
        self._stirred = asyncio.Event()  # something for the keeper
        self._returned = asyncio.Event()  # libvirtd, whose machines have not been looked through
        self._looking = False  # machines are being looked through
        self._cut_off: set[str] = set()  # ended by us, in the middle of their start
        self.stalled = asyncio.Event()
        """Perhaps a machine stands still."""
        self._stopping: dict[str, set[asyncio.Future[None]]] = {}
        self.on_stock: list[Callable[[], None]] = []
        """Called when it is known again which machines there are, after libvirtd or this process has come back."""
        self.on_change: list[Callable[[str, int, int], None]] = []
        """Called with a machine's name, its lifecycle event and that event's detail."""

    async def run(self) -> None:
        """Keep machines running, until cancelled."""
        self._machines.link.start(on_event=self._heard, on_up=self._up, on_down=self._down)
        await asyncio.gather(self._take_stock(), self._restart())

    def let_go(self, name: str) -> None:
        """The machine may end: it is not started again."""
        self._keeper.let_go(name)

    def forget(self, name: str) -> None:
        """It is no machine any more."""
        self._keeper.let_go(name)
        self._wishes.on(name)

    def wanted(self, name: str) -> None:
        """It runs, or is about to: kept so if it is marked `autostart`."""
        if self._machines.known[name].autostart:
            self._keeper.want(name)
            self._keeper.runs(name, time.monotonic())

    @contextlib.contextmanager
    def ending(self, name: str) -> Iterator[asyncio.Future[None]]:
        """What is done when the machine ends; VmError in it if libvirtd is gone before that."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping.setdefault(name, set()).add(ended)
        try:
            yield ended
        finally:
            waiting = self._stopping.get(name, set())
            waiting.discard(ended)
            if not waiting:
                self._stopping.pop(name, None)

    def _up(self) -> None:
        self._machines.tell("libvirt.up", "info", "libvirt answers", {})
        self._returned.set()

    def _down(self, trouble: str) -> None:
        self._machines.tell("libvirt.down", "error", f"{trouble}; machines that run go on running", {})
        for waiting in self._stopping.values():
            for ended in waiting:
                if not ended.done():
                    ended.set_exception(VmError("unavailable", trouble))
        self._stopping.clear()

    async def _take_stock(self) -> None:
        """After libvirtd has come back, or this process: what runs, what should, and what a crash left half made."""
        machines = self._machines
        while True:
            self._looking = False
            await self._returned.wait()
            self._returned.clear()
            self._looking = True
            try:
                found = await machines.link.do(calls.survey)
            except VmError:
                continue  # gone again
            names = {one.name for one in found}
            try:
                await self._sweep(names)
            except OSError as error:
                text = f"what is half made cannot be looked through: {error.filename}: {error.strerror}"
                machines.tell("vm.unswept", "error", text, {})
            for name in machines.known.keys() - names:
                self._keeper.let_go(name)
            before, machines.known = (
                machines.known,
                {one.name: known(one) for one in found},
            )
            for one in found:
                self._take_stock_of(one, known_before=one.name in before)
            for tell in self.on_stock:
                tell()
            self.stalled.set()

    def _take_stock_of(self, one: calls.Found, *, known_before: bool) -> None:
        if one.state == "off":
            self._cut_off.discard(one.name)
        if one.state != "off":
            self.wanted(one.name)
            if one.stands != "cut off":
                self._guard(one.name)
        elif one.told_to_end:
            self._let_off(one.name)
        elif self._keeper.wants(one.name) or (
            one.autostart and not known_before and not self._wishes.is_off(one.name)
        ):
            self._keeper.want(one.name)
            self._crashed(one.name, "is not running")

    async def _sweep(self, defined: set[str]) -> None:
        machines = self._machines
        for name in await asyncio.to_thread(
            machines.storage.sweep, defined, set(machines.making), time.time()
        ):
            text = f"{name} was half made and nobody went on with it; what there was of it is deleted"
            machines.tell("vm.swept", "warning", text, {"vm": name})
        for name in await asyncio.to_thread(machines.storage.half_made):
            if name not in machines.making and not machines.storage.gave_way(name):  # that is put back
                text = (
                    f"{name} was half made, or half deleted, when branchline ended; the same `branchline vm create` "
                    f"goes on with it, `branchline vm delete {name}` drops it"
                )
                machines.tell("vm.half_made", "warning", text, {"vm": name})

    def _heard(self, name: str, event: int, detail: int) -> None:
        if self._looking and event in (calls.STARTED, calls.STOPPED):
            self._returned.set()  # what was seen of it may be from before
        if name not in self._machines.known:
            return
        for tell in self.on_change:
            tell(name, event, detail)
        if event == calls.STARTED:
            self.wanted(name)
            self._guard(name)
            self._wishes.on(name)
            self._machines.tell("vm.started", "info", f"{name} runs", {"vm": name})
        if event == calls.SUSPENDED:
            self.stalled.set()
        if event != calls.STOPPED:
            return
        self._guarantees.let_go(name)
        for ended in self._stopping.pop(name, set()):
            if not ended.done():
                ended.set_result(None)
        if name in self._machines.making or name in self._machines.abandoned:
            return  # who makes it says what became of it
        if name in self._cut_off:
            self.stalled.set()
            return
        if detail in (calls.ENDED_CRASHED, calls.ENDED_FAILED):
            self._crashed(name, "has ended without having been told to")
            return
        self._let_off(name)
        how = {calls.ENDED_ORDERLY: "has shut down", calls.ENDED_BY_FORCE: "has been forced off"}
        text = f"{name} {how.get(detail, 'has been stopped')}"
        self._machines.tell("vm.stopped", "info", text, {"vm": name})

    def _let_off(self, name: str) -> None:
        self._keeper.let_go(name)
        try:
            self._wishes.off(name)
        except OSError as error:
            text = (
                f"that {name} is to stay off cannot be written down ({error.strerror}): with `autostart` it is started "
                "when branchline is started again"
            )
            self._machines.tell("vm.off_unwritten", "warning", text, {"vm": name})

    def end_start(self, name: str) -> None:
        """End a machine that libvirtd has left in the middle of its start; `started_not` when it has ended.

        Not by libvirtd: it may hold on to the start, and then makes whatever is asked of the machine wait for it.
        """
        self._cut_off.add(name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(emulator(name), signal.SIGKILL)

    def started_not(self, name: str) -> None:
        """A machine is off that was ended in the middle of its start. One with `autostart` is started anew."""
        if name in self._cut_off:
            self._cut_off.discard(name)
            self._crashed(name, "was left in the middle of its start when libvirtd was lost")

    def _guard(self, name: str) -> None:
        held = self._guarantees.put_on(name)
        if held.missing:
            text = f"{name} runs without a guarantee for the router: {'; '.join(held.missing)}"
            self._machines.tell("vm.unguarded", "warning", text, {"vm": name})

    def _crashed(self, name: str, what: str) -> None:
        wait = self._keeper.ended(name, time.monotonic())
        then = (
            f"`branchline vm start {name}` starts it"
            if wait is None
            else f"it is started again in {wait:g} s"
        )
        evidence = {"vm": name, "log": f"/var/log/libvirt/qemu/{name}.log", "again_in_s": wait}
        self._machines.tell("vm.crashed", "error", f"{name} {what}; {then}", evidence)
        self._stirred.set()

    async def _restart(self) -> None:
        while True:
            left = self._keeper.next_due() - time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, left) if left < 1e9 else None):
                    await self._stirred.wait()
            self._stirred.clear()
            for name in self._keeper.due(time.monotonic()):
                await self._start(name)

    async def _start(self, name: str) -> None:
        try:
            await self._machines.link.do(lambda connection: calls.start(connection, name), CHANGE_S)
        except VmError as error:
            wait = self._keeper.ended(name, time.monotonic())
            then = "" if wait is None else f"; tried again in {wait:g} s"
            evidence = {"vm": name, "again_in_s": wait}
            self._machines.tell(
                "vm.start_failed", "error", f"{name} cannot be started: {error}{then}", evidence
            )
