"""For how long something that has failed is left alone before it is tried again. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

FIRST: Final = 30.0
MOST: Final = 3600.0
_TRACKED: Final = 4096


class BackOff:
    """30 seconds at first, doubling up to an hour for what fails again soon after; or other times."""

    def __init__(self, first: float = FIRST, most: float = MOST) -> None:
        self._first = first
        self._most = most
        self._failures: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def failed(self, what: Hashable, now: float) -> float:
        """`what` has failed again; returns for how many seconds it is to be left alone."""
        seconds = self._first
        last = self._failures.pop(what, None)
        if last is not None and now < last[1]:
            seconds = min(last[0] * 2, self._most)
        # Remembered for as long again after it ends.
        self._failures[what] = seconds, now + 2 * seconds
        while len(self._failures) > _TRACKED:
            self._failures.popitem(last=False)
        return seconds
