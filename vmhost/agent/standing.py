"""The agent of one machine: whether it is there, when it is asked, what is told of it. Pure: times are seconds on any
one clock.
"""

from __future__ import annotations

import math
from typing import Literal

from vmhost.agent.facts import Facts

EVERY_S = 60.0
"""How often an agent is asked."""
SETTLED_S = 5.0
"""It is told of an agent that has been there, or away, for so long: a guest may open and close its channel for ever."""
_CALM_S = 10.0  # between two questions, however often the channel is opened
_TRIES = 3  # to set the clock

State = Literal["absent", "connected", "answers", "silent"]


class Standing:
    """Since `now`, when its channel is not open as far as is known."""

    def __init__(self, now: float) -> None:
        self._connected = self._told = False
        self._since = now
        self._due = now
        self._asked = -math.inf
        self._tries = 0  # left to set the clock
        self._answers: bool | None = None
        self._heard = math.nan
        self.facts: Facts | None = None
        """What it said last."""
        self.trouble = ""
        """Why it does not answer."""

    @property
    def state(self) -> State:
        """`connected`: it has not been asked yet."""
        if not self._connected:
            return "absent"
        if self._answers is None:
            return "connected"
        return "answers" if self._answers else "silent"

    def age(self, now: float) -> float | None:
        """Seconds since it said what it said last."""
        return None if self.facts is None else now - self._heard

    def seen(self, connected: bool, now: float) -> None:
        """Whether its channel is open now."""
        if connected != self._connected:
            self._connected, self._since, self._answers, self.trouble = connected, now, None, ""
            self._due = max(now, self._asked + _CALM_S)

    def late(self, now: float) -> None:
        """The guest has stood still: its clock is to be set."""
        self._tries, self._due = _TRIES, now

    def booted(self) -> None:
        """The guest has taken the time from the box by itself."""
        self._tries = 0

    @property
    def is_late(self) -> bool:
        """Whether its clock is to be set."""
        return self._tries > 0

    def clock_is_set(self, *, done: bool) -> bool:
        """It is, or could not be. True if that is the end of it."""
        self._tries = 0 if done else self._tries - 1
        return not self.is_late

    def is_due(self, now: float) -> bool:
        """Whether it is to be asked; then it is not until EVERY_S later."""
        if not self._connected or now < self._due:
            return False
        self._asked, self._due = now, now + EVERY_S
        return True

    def said(self, found: Facts | None, trouble: str, now: float) -> None:
        """What has come of asking it."""
        self._answers, self.trouble = found is not None, trouble
        if found is not None:
            self.facts, self._heard = found, now

    def news(self, now: float) -> bool | None:
        """Whether it is there, if that is to be told now."""
        if self._connected == self._told or now < self._since + SETTLED_S:
            return None
        self._told = self._connected
        return self._told

    def next(self) -> float:
        """When there is something to do again."""
        due = self._due if self._connected else math.inf
        return min(due, self._since + SETTLED_S) if self._connected != self._told else due
