"""When a child process is started, killed and started again: the decision, without processes or clocks.

A child is told about with `started`, `heard` and `exited`; `due` says what is to be done at a moment and `deadline`
when to ask again. Times are seconds of any monotonic clock.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
HEALTHY_S = 60.0


class Action(enum.Enum):
    """What is to be done with a child now."""

    START = "start"
    TERMINATE = "terminate"
    KILL = "kill"


@dataclass
class Child:
    """One child: how long it may be silent (`watchdog`), take to its READY=1 (`startup`), take to stop (`stop`)."""

    name: str
    watchdog: float
    startup: float = 30.0
    stop: float = 5.0

    wanted: bool = False
    running: bool = False
    ready: bool = False
    ever_ready: bool = False
    status: str = ""
    restarts: int = 0
    why_killed: str = ""
    """Why the running child has been sent SIGKILL, "" if it has not."""

    _start_at: float = 0.0
    _ready_at: float = 0.0
    _limit: float | None = None
    _terminated: bool = False
    _delay: float = field(default=0.0)

    def want(self, now: float) -> None:
        """From now on the child is to run."""
        self.wanted, self._start_at = True, now

    def unwant(self) -> None:
        """From now on the child is to be stopped in good order."""
        self.wanted = False

    def started(self, now: float) -> None:
        """The process has been made."""
        self.running, self.ready, self._terminated, self.why_killed, self.status = True, False, False, "", ""
        self._limit = now + self.startup

    def heard(self, message: str, now: float) -> None:
        """A datagram of the sd_notify protocol: lines of NAME=value."""
        for line in message.splitlines():
            name, _, value = line.partition("=")
            if name == "READY" and value == "1" and not self.ready:
                self.ready = self.ever_ready = True
                self._ready_at = now
            elif name == "STATUS":
                self.status = value
            elif (
                name == "EXTEND_TIMEOUT_USEC" and value.isdigit() and self._terminated and not self.why_killed
            ):
                self._limit = max(self._limit or 0.0, now + int(value) / 1e6)
        # Any word is a sign of life, but a child that is told to stop has only so long.
        if self.ready and not self._terminated:
            self._limit = now + self.watchdog

    def exited(self, now: float) -> float:
        """The process is gone; returns after how many seconds it will be started again, if it is wanted."""
        healthy = self.ready and now - self._ready_at >= HEALTHY_S
        # At once after a healthy life, then with growing patience: a child that cannot live must not eat the box.
        delay = 0.0 if healthy or self.restarts == 0 else self._delay
        self._delay = FIRST_DELAY_S if delay == 0 else min(2 * delay, LONGEST_DELAY_S)
        self.restarts += 1
        self.running = self.ready = False
        self._limit = None
        self._start_at = now + delay
        return delay

    def due(self, now: float) -> Action | None:
        """What is to be done now, once: the caller tells the outcome by `started` and `exited`."""
        if not self.running:
            return Action.START if self.wanted and now >= self._start_at else None
        if not self.wanted and not self._terminated:
            self._terminated = True
            self._limit = now + self.stop
            return Action.TERMINATE
        if self._limit is not None and now >= self._limit:
            self.why_killed = self._lateness()
            self._limit = None  # SIGKILL cannot fail; nothing more to wait for but the end
            return Action.KILL
        return None

    def deadline(self) -> float | None:
        """When `due` may have something new to say; None: not before something is told."""
        if not self.running:
            return self._start_at if self.wanted else None
        return self._limit

    def _lateness(self) -> str:
        if self._terminated:
            return f"did not stop within {self.stop:g} s"
        if self.ready:
            return f"gave no sign of life for {self.watchdog:g} s"
        return f"was not ready within {self.startup:g} s"
