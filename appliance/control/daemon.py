"""`branchline-control`: owns the kernel state that outlives the data plane, keeps the events, answers people."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Any

import msgspec

from appliance.bypass import Bypass
from appliance.config import Config
from appliance.control.answers import Answers
from appliance.control.caches import Caches
from appliance.control.enrolment import Enrolment
from appliance.control.in_force import InForce
from appliance.control.kernel import Kernel, KernelError
from appliance.control.keys import Keys
from appliance.control.planes import Planes
from appliance.control.shaper import Shaper
from appliance.control.vms import Vms
from appliance.enrolment.messages import ASKED
from appliance.events import LONGEST, Event, EventLog, Severity, decode
from appliance.lanes.path import SMALL_PACKETS
from appliance.notify import Notifier
from appliance.rpc import RpcError
from appliance.rpc_asyncio import Server, datagrams
from appliance.supervisor import EVENTS_SOCKET
from appliance.trust import Trust

CHECK_S = 2.0


class Control:
    """The daemon. `source` is the file that people edit, `config` what is in force at the start.

    The kernel's state is looked at every `check` seconds.
    ValueError or OSError if what was remembered of bypass cannot be read.
    """

    def __init__(
        self, source: Path, config: Config, kernel: Kernel, notifier: Notifier, *, check: float = CHECK_S
    ) -> None:
        self._box = str(config.box.id)
        self._run_dir = Path(config.box.run_dir)
        self._kernel = kernel
        self._notifier = notifier
        self._log = EventLog(Path(config.box.state_dir) / "events.jsonl", size=config.limits.event_log)
        self._processes = config.box.processes
        self._data = Planes(
            self._run_dir,
            self._processes,
            on_event=self._data_event,
            on_up=self._data_up,
            on_down=self._data_down,
        )
        self._in_force = InForce(
            source,
            config,
            Bypass.load(Path(config.box.state_dir)).within(config),
            Trust.load(Path(config.box.state_dir)),
            kernel=kernel,
            data=self._data,
            emit=self._emit,
        )
        answers = Answers(source, self._in_force, kernel, self._data, self._log)
        caches = Caches(self._in_force, self._data)
        self._enrolment = Enrolment(source, self._in_force, self._data, self._emit)
        self._keys = Keys(self._in_force, self._data, self._emit)
        self._vms = Vms(config, self._emit)
        rooms = (answers, self._in_force, caches, self._enrolment, self._keys, self._vms)
        self._server = Server(
            {name: handler for room in rooms for name, handler in room.handlers().items()}, self._bug
        )
        self._shaper = Shaper(self._in_force, kernel, self._data, self._emit)
        self._stop = asyncio.Event()
        self._said_goodbye: set[int] = set()
        self._paths_changed = False
        self._reload = asyncio.Event()
        self._check = check

    async def run(self) -> None:
        """Put everything in place, serve until `stop`, take everything away. KernelError or OSError at the start.

        The sockets come first: if they cannot be had, the kernel has not been touched.
        """
        loop = asyncio.get_running_loop()
        supervisor = datagrams(self._run_dir / EVENTS_SOCKET)
        try:
            await self._server.start(self._run_dir / "control.sock")
            async with self._in_force.changing:
                await self._kernel.open(self._in_force.spec)
            loop.add_reader(supervisor, self._supervisor_event, supervisor)
            await self._serve(loop)
        finally:
            loop.remove_reader(supervisor)
            supervisor.close()
            await self._server.close()
            for name in (EVENTS_SOCKET, "control.sock"):
                (self._run_dir / name).unlink(missing_ok=True)
        async with self._in_force.changing:
            await self._kernel.remove()
        self._emit("control.stopped", "info", "the control plane has stopped; the kernel is as it was", {})

    async def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        tasks = [
            loop.create_task(work)
            for work in (
                self._data.run(),
                self._shaper.run(),
                self._keep_kernel(),
                self._keep_alive(),
                self._keep_reloading(),
                self._enrolment.run(),
                self._keys.run(),
                self._vms.run(),
            )
        ]
        for task in tasks:
            task.add_done_callback(lambda _: self._stop.set())  # none ends by itself but by a bug
        self._emit("control.started", "info", "the control plane is up", {"pid": os.getpid()})
        self._notifier.ready()
        await self._stop.wait()
        self._notifier.stopping()
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome  # as any crash: the kernel's state stays, the next process finds it

    def stop(self) -> None:
        """Begin the orderly stop."""
        self._stop.set()

    def reload(self) -> None:
        """As the method of that name, for a signal: the outcome is an event."""
        self._reload.set()

    # What is done again and again.

    async def _keep_kernel(self) -> None:
        """What somebody else takes away (`nft flush ruleset`, `ip rule flush`) is put back."""
        trouble = ""
        while True:
            await asyncio.sleep(self._check)
            if self._paths_changed:
                self._paths_changed = False
                await self._in_force.look_at_paths()
            try:
                async with self._in_force.changing:
                    found = await self._kernel.restore(self._in_force.spec)
            except KernelError as error:
                if str(error) != trouble:
                    self._emit("kernel.failed", "error", f"the kernel's state cannot be kept: {error}", {})
                trouble = str(error)
                continue
            trouble = ""
            if found:
                text = f"somebody else removed or changed {', '.join(found)}; put back"
                self._emit("kernel.restored", "warning", text, {"missing": found})

    async def _keep_reloading(self) -> None:
        """However many signals have come: once, after the last of them."""
        while True:
            await self._reload.wait()
            self._reload.clear()
            with contextlib.suppress(RpcError):  # said as an event
                await self._in_force.reload({})

    async def _keep_alive(self) -> None:
        while True:
            self._notifier.watchdog()
            await asyncio.sleep(self._notifier.interval_s / 2 if self._notifier.interval_s else 60)

    # The data plane.

    async def _data_up(self, process: int) -> None:
        self._said_goodbye.discard(process)
        plane, _ = self._named(process)
        self._emit("data.up", "info", f"{plane} is connected", {})
        await self._in_force.tell_data(process)
        await self._in_force.look_at_paths()

    def _data_down(self, process: int) -> None:
        plane, flows = self._named(process)
        if process in self._said_goodbye:
            self._emit("data.down", "info", f"{plane} has been stopped; {flows} pass through", {})
        else:
            self._emit("data.down", "error", f"{plane} is gone; {flows} pass through", {})

    def _named(self, process: int) -> tuple[str, str]:
        """A data process and the flows that are its own, for a person."""
        if self._processes == 1:
            return "the data plane", "new flows"
        return f"data process {process} of {self._processes}", "new flows of its peers"

    # The events.

    def _emit(self, kind: str, severity: Severity, text: str, evidence: dict[str, Any]) -> None:
        now = time.time()
        self._keep(
            Event(time=now, kind=kind, severity=severity, subject=self._box, text=text, evidence=evidence)
        )

    def _keep(self, event: Event, *, echo: bool = True) -> None:
        self._log.resize(self._in_force.config.limits.event_log)
        self._log.append(event, echo=echo)
        self._server.publish(event)

    def _data_event(self, process: int, tree: Any) -> None:
        try:
            event = msgspec.convert(tree, Event)
            if event.kind == "data.stopped":
                self._said_goodbye.add(process)
            self._keep(event, echo=False)  # it has said so itself
            self._keys.heard(event.kind, event.evidence)
            if event.kind == SMALL_PACKETS:
                self._paths_changed = True
            if event.kind == ASKED:
                self._enrolment.asked(process, event.evidence)
        except msgspec.ValidationError as error:
            self._emit("data.garbled", "warning", f"an event of the data plane is none: {error}", {})

    def _supervisor_event(self, teller: socket.socket) -> None:
        try:
            self._keep(decode(teller.recv(LONGEST)), echo=False)
        except BlockingIOError:
            return
        except msgspec.DecodeError as error:
            self._emit("supervisor.garbled", "warning", f"an event of the supervisor is none: {error}", {})

    def _bug(self, method: str, error: Exception) -> None:
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{where.tb_frame.f_code.co_name}, line {where.tb_lineno}" if where is not None else ""
        self._emit("control.bug", "error", f"{method}: {type(error).__name__}: {error}", {"place": place})
