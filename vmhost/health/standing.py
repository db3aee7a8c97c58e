"""How a machine stands after each round of checks, and when the next is due. Pure: times are seconds on any one clock.

One bad round is confirmed by a second before anything is said; a guest that boots has time to come up; one that goes on
being bad is asked less and less often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from vmhost.health.result import Result, State, state_of

BOOTING_S = 300.0
"""So long after its start a machine that has not been healthy yet is not called bad."""
CONFIRM_S = 5.0
MOST_BACK_OFF = 4
"""So many times `every` lie between two rounds at most."""

_RANK = {"healthy": 0, "degraded": 1, "failed": 2}


class Standing:
    """Of a machine that runs since `began`, checked `every` so many seconds."""

    def __init__(self, began: float, every: float) -> None:
        self.state: State | Literal["starting"] = "starting"
        self.results: Sequence[Result] = ()
        self.due = began
        self._began = began
        self._every = every
        self._bad = 0
        """Rounds in a row that were worse than healthy."""

    def told(self, results: Sequence[Result], now: float) -> bool:
        """A round is over. Whether the machine stands otherwise than before."""
        self.results = results
        found = state_of(results)
        before = self.state
        if found == "healthy":
            self._bad = 0
            self.state, self.due = found, now + self._every
            return before != found
        self._bad += 1
        if before == "starting" and now - self._began < BOOTING_S:
            self.due = now + min(CONFIRM_S, self._every)
            return False
        better = before != "starting" and _RANK[found] < _RANK[before]
        if self._bad >= 2 or better:
            self.state = found
        confirm = self._bad == 1
        wait = (
            min(CONFIRM_S, self._every) if confirm else self._every * min(2 ** (self._bad - 2), MOST_BACK_OFF)
        )
        self.due = now + wait
        return self.state != before
