"""Starts the daemons, kills what hangs, starts again what died, and stops them in good order.

It speaks the sd_notify protocol with them, so that systemd units can take its place. `supervision` decides; here are
the processes, signals and sockets. The daemons die with the supervisor, however it dies: without it nobody would kill
a data plane that hangs, and the branch's new flows would wait for it.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from appliance.events import Event, Severity, encode, say
from appliance.notify import Notifier
from appliance.supervision import Action, Child

_PR_SET_PDEATHSIG: Final = 1
_EXIT_CONFIG: Final = 2
PATIENT_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGHUP})
_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Program:
    """One daemon: its name, command line, for how long it may give no sign of life and take to stop (seconds)."""

    name: str
    argv: tuple[str, ...]
    watchdog: float
    essential: bool = False
    """Whether the whole start has failed if it ends before it was ready for the first time."""
    stop: float = 5.0
    patient: bool = False
    """Whether it begins with SIGTERM and SIGHUP blocked and unblocks them when it can handle them; without that one
    of them, come too early, ends it on the spot with nothing put in order."""
    beside: bool = False
    """Whether it is started and stopped together with the one before it."""


class _Process:
    """A program's supervision, its notify socket and, while it runs, its process."""

    def __init__(self, program: Program, run_dir: Path) -> None:
        self.program = program
        self.child = Child(program.name, watchdog=program.watchdog, stop=program.stop)
        self.popen: subprocess.Popen[bytes] | None = None
        self.pidfd = -1
        self._address = run_dir / f"notify-{program.name}.sock"
        self._address.unlink(missing_ok=True)
        self.notify = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        self.notify.bind(str(self._address))
        self._address.chmod(0o600)

    def start(self) -> None:
        """OSError if the machine has no room for another process."""
        environment = {name: value for name, value in os.environ.items() if name != "WATCHDOG_PID"}
        environment["NOTIFY_SOCKET"] = str(self._address)
        environment["WATCHDOG_USEC"] = str(int(self.program.watchdog * 1e6))
        self.popen = subprocess.Popen(
            self.program.argv,
            stdin=subprocess.DEVNULL,
            env=environment,
            process_group=0,  # Ctrl-C is for the supervisor; it stops them in order
            preexec_fn=_before_exec(os.getpid(), PATIENT_SIGNALS if self.program.patient else ()),
        )
        try:
            self.pidfd = os.pidfd_open(self.popen.pid)
        except OSError:
            self.popen.kill()
            self.popen.wait()
            self.popen = None
            raise

    def signal(self, number: int) -> None:
        if self.popen is not None:
            signal.pidfd_send_signal(self.pidfd, number)

    def reap(self) -> int:
        """Exit status as subprocess tells it: negative for a signal."""
        assert self.popen is not None
        status = self.popen.wait()
        os.close(self.pidfd)
        self.popen, self.pidfd = None, -1
        return status

    def close(self) -> None:
        self.notify.close()
        self._address.unlink(missing_ok=True)


def _before_exec(parent: int, blocked: Iterable[int]) -> Callable[[], None]:
    def before_exec() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    return before_exec


class Supervisor:
    """Runs `programs`: each is started when those before it are ready, and stopped when those after it have ended."""

    def __init__(self, programs: Sequence[Program], run_dir: Path) -> None:
        self._run_dir = run_dir
        self._processes = [_Process(program, run_dir) for program in programs]
        self._untold: deque[Event] = deque(maxlen=200)
        self._teller = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._notifier = Notifier()
        self._signalled: set[int] = set()
        self._stopping = self._hurried = False
        self._reload = False
        self._exit_status = 0
        self._all_ready = False

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT, a second of which hurries the stop.

        0 after an orderly stop, a daemon's status if its first start failed.
        """
        wake, woken = socket.socketpair()
        for end in (wake, woken):
            end.setblocking(False)
        before = {
            number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        }
        # The descriptor only wakes: when a storm has filled it, none of the signals is lost.
        before_fd = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        for number in before:
            signal.signal(number, lambda number, _frame: self._signalled.add(number))
        self._selector.register(woken, selectors.EVENT_READ)
        for process in self._processes:
            self._selector.register(process.notify, selectors.EVENT_READ)
        try:
            self._loop(woken)
        finally:
            for process in self._processes:
                if process.popen is not None:  # only after an error of our own
                    process.signal(signal.SIGKILL)
                    process.reap()
                process.close()
            signal.set_wakeup_fd(before_fd)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            for end in (wake, woken, self._teller):
                end.close()
        return self._exit_status

    def _loop(self, woken: socket.socket) -> None:
        while not (self._stopping and all(process.popen is None for process in self._processes)):
            self._direct()
            ready = self._selector.select(self._timeout())
            if any(key.fileobj is woken for key, _ in ready):
                woken.recv(4096)
                self._obey()
            for process in self._processes:
                self._listen(process)  # its last words, if it has ended
                if process.popen is not None and process.popen.poll() is not None:
                    self._ended(process)
            self._tell()
            self._notifier.watchdog()

    def _direct(self) -> None:
        """Want the next in order, or stop the last in order."""
        now = time.monotonic()
        if self._stopping:
            running = False
            for process in reversed(self._processes):
                process.child.unwant()
                running |= process.popen is not None
                if running and not process.program.beside:
                    break
        else:
            ready = True
            for process in self._processes:
                if not ready and not process.program.beside:
                    break
                if not process.child.wanted:
                    process.child.want(now)
                ready &= process.child.ever_ready
        for process in self._processes:
            self._attend(process)
        first = self._processes[0]
        if self._reload and first.popen is not None:  # else it waits until that runs again
            self._reload = False
            first.signal(signal.SIGHUP)

    def _timeout(self) -> float | None:
        deadlines = [process.child.deadline() for process in self._processes]
        waits = [deadline - time.monotonic() for deadline in deadlines if deadline is not None]
        if self._untold:
            waits.append(0.5)
        if self._notifier.interval_s is not None:
            waits.append(self._notifier.interval_s)
        return max(0.0, min(waits)) if waits else None

    def _attend(self, process: _Process) -> None:
        # The clock first, then what it has said: if we were held up at any point here, that is not its fault.
        now = time.monotonic()
        self._listen(process)
        action = process.child.due(now)
        if action is Action.START:
            self._start(process)
        elif action is Action.TERMINATE:
            process.signal(signal.SIGINT if self._hurried else signal.SIGTERM)
        elif action is Action.KILL:
            process.signal(signal.SIGKILL)
            why = process.child.why_killed
            self._report("process.killed", "error", process, f"{process.program.name} {why} and was killed")

    def _listen(self, process: _Process) -> None:
        was_ready = process.child.ready
        while True:
            try:
                message = process.notify.recv(4096).decode("utf-8", "replace")
            except BlockingIOError:
                break
            process.child.heard(message, time.monotonic())
            if self._stopping:
                self._notifier.extend()
        if process.child.ready and not was_ready:
            self._report("process.ready", "info", process, f"{process.program.name} is ready")
            if not self._all_ready and all(other.child.ready for other in self._processes):
                self._all_ready = True
                self._notifier.ready()

    def _start(self, process: _Process) -> None:
        try:
            process.start()
        except OSError as error:
            delay = process.child.exited(time.monotonic())
            text = f"{process.program.name} cannot be started ({error}); it is tried again {_in(delay)}"
            self._report("process.failed", "error", process, text, {"restart_in_s": delay})
            return
        self._selector.register(process.pidfd, selectors.EVENT_READ)
        process.child.started(time.monotonic())

    def _obey(self) -> None:
        while self._signalled:
            if self._signalled.pop() == signal.SIGHUP:
                self._reload = True
            elif self._stopping:
                self._hurry()
            else:
                self._notifier.stopping()
                self._stopping = True

    def _hurry(self) -> None:
        """Told to stop once more: what is still finishing its work ends at once."""
        self._hurried = True
        for process in self._processes:
            if not process.child.wanted:
                process.signal(signal.SIGINT)

    def _ended(self, process: _Process) -> None:
        child, name = process.child, process.program.name
        self._selector.unregister(process.pidfd)
        pid = process.popen.pid if process.popen is not None else 0
        status = process.reap()
        first_failed = not child.ever_ready and (process.program.essential or status == _EXIT_CONFIG)
        why = child.why_killed
        delay = child.exited(time.monotonic())
        end = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        evidence = {"pid": pid, "status": status, "killed_because": why}
        if self._stopping:
            severity: Severity = "error" if why or status > 0 else "info"
            self._report("process.stopped", severity, process, f"{name} {end}", evidence)
        elif first_failed:
            self._report("process.failed", "error", process, f"{name} {end} before it was ready", evidence)
            self._exit_status = status if status > 0 else 1
            self._stopping = True
        else:
            evidence["restart_in_s"] = delay
            text = f"{name} {end}; it is started again {_in(delay)}"
            self._report("process.died", "error", process, text, evidence)

    def _report(
        self,
        kind: str,
        severity: Severity,
        process: _Process,
        text: str,
        evidence: dict[str, Any] | None = None,
    ) -> None:
        subject = process.program.name
        if evidence is None:
            evidence = {"pid": process.popen.pid if process.popen is not None else 0}
        event = Event(
            time=time.time(), kind=kind, severity=severity, subject=subject, text=text, evidence=evidence
        )
        say(event)
        self._untold.append(event)

    def _tell(self) -> None:
        """Hand events to control, which keeps the log; what it cannot take now waits."""
        while self._untold:
            try:
                self._teller.sendto(encode(self._untold[0]), str(self._run_dir / EVENTS_SOCKET))
            except OSError:
                return  # control is not there, or busy: tried again
            self._untold.popleft()


def _in(delay: float) -> str:
    return f"in {delay:g} s" if delay else "at once"


EVENTS_SOCKET: Final = "events.sock"
"""Name of control's datagram socket for events of the supervisor, in the run directory."""
