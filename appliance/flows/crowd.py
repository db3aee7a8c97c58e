"""Whether many flows are being opened at once."""

from __future__ import annotations

CROWD, CROWD_S = 20, 0.1  # so many opens in such a time


class Crowd:
    """Whether flows are being opened so fast that their small frames should travel together."""

    def __init__(self) -> None:
        self._dense = False
        self._began = -CROWD_S
        self._count = 0

    def enter(self, now: float) -> None:
        if now - self._began >= CROWD_S:
            self._dense = self._count >= CROWD and now - self._began < 2 * CROWD_S
            self._began, self._count = now, 0
        self._count += 1

    def at(self, now: float) -> bool:
        return self._dense and now - self._began < 2 * CROWD_S
