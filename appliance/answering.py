"""Whether the disk under the chunk caches answers. Pure.

Judged by how long one step of background work on it takes: a step that is not over after HUNG_S means that whoever
reads from the disk may wait as long. It counts as answering again when nothing has been slow for a while, so that a
disk that crawls does not come and go.
"""

from __future__ import annotations

HUNG_S = 2.0  # less than a data plane may give no sign of life
SLOW_S = 0.5
CALM_S = 10.0


class Answering:
    """Times are seconds of any monotonic clock. begin and end may be called in another thread than look."""

    def __init__(self) -> None:
        self.yes = True
        self._began: float | None = None
        self._slow_at = float("-inf")

    def begin(self, now: float) -> None:
        """A step begins; one at a time."""
        self._began = now

    def end(self, now: float) -> None:
        if self._began is not None and now - self._began >= SLOW_S:
            self._slow_at = now
        self._began = None

    def look(self, now: float) -> bool:
        """Whether `yes` has just changed."""
        began = self._began
        waited = 0.0 if began is None else now - began
        if self.yes and waited >= HUNG_S:
            self.yes, self._slow_at = False, now
            return True
        if not self.yes and waited < SLOW_S and now - self._slow_at >= CALM_S:
            self.yes = True
            return True
        return False
