"""Which machines are started again, and when. Pure: it is told what happens, times are seconds on any one clock.

A machine that is wanted and ends without having been told to is started after a back-off that doubles with every try
and is forgotten once the machine has run for a while.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FIRST_S, LONGEST_S = 1.0, 300.0
SETTLED_S = 300.0
"""A machine that has run for so long starts with a short back-off again."""


@dataclass
class _Kept:
    tries: int = 0
    due: float = math.inf
    since: float = math.inf  # it runs


class Keeper:
    """All machines that are to run."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def want(self, name: str) -> None:
        """The machine is to run from now on; `ended` says that it does not."""
        self._kept.setdefault(name, _Kept())

    def let_go(self, name: str) -> None:
        """The machine may end: it was told to, or it is no more."""
        self._kept.pop(name, None)

    def wants(self, name: str) -> bool:
        """Whether it would be started again."""
        return name in self._kept

    def runs(self, name: str, now: float) -> None:
        """It has been started."""
        if (kept := self._kept.get(name)) is not None:
            kept.since, kept.due = now, math.inf

    def ended(self, name: str, now: float) -> float | None:
        """It runs no more, or could not be started. Seconds until it is tried; None if that is not for us."""
        kept = self._kept.get(name)
        if kept is None:
            return None
        if now - kept.since >= SETTLED_S:
            kept.tries = 0
        wait = min(FIRST_S * 2.0**kept.tries, LONGEST_S)
        kept.tries = min(kept.tries + 1, 16)
        kept.since, kept.due = math.inf, now + wait
        return wait

    def due(self, now: float) -> list[str]:
        """The machines to be started now. They are not due again until `runs` or `ended` is said of them."""
        names = [name for name, kept in self._kept.items() if kept.due <= now]
        for name in names:
            self._kept[name].due = math.inf
        return names

    def next_due(self) -> float:
        """When the next one is; infinity if none."""
        return min((kept.due for kept in self._kept.values()), default=math.inf)
