"""A chunk cache in memory in place of one that the disk could not hold, and how it comes to be on disk after all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import dedupe
from appliance.attempt import Attempt
from appliance.cache_disk import CacheDisk

AGAIN_S = 10.0  # between two attempts


@dataclass(frozen=True)
class Place:
    """Whose a cache is, and how large the configuration wants it."""

    peer: str
    domain: int
    capacity: int


class StandIn:
    """Opens the cache on disk again and again. found: that cache, once it is open; it is not yet in use."""

    def __init__(
        self, disk: CacheDisk, place: Place, now: float, attempt: Attempt[dedupe.Cache] | None
    ) -> None:
        """attempt: one that the disk has not answered yet."""
        self.place = place
        self.found: dedupe.Cache | None = None
        self._disk = disk
        self._due = now + AGAIN_S
        self._attempt = attempt

    def look(self, now: float) -> bool:
        """Whether it has just been found. Nobody waits here: an attempt goes on until the disk has answered."""
        if self.found is not None:
            return False
        if self._attempt is None:
            if now >= self._due:
                self._attempt = self._disk.open(self.place.peer, self.place.capacity, self.place.domain)
            return False
        if not self._attempt.wait(0.0):
            return False
        attempt, self._attempt, self._disk.stuck = self._attempt, None, False
        try:
            self.found = attempt.result()
        except (dedupe.CacheInUse, dedupe.StoreError, OSError):
            self._due = now + AGAIN_S
            return False
        return True

    def give_up(self, close: Callable[[dedupe.Cache], None]) -> None:
        """Nobody uses the stand-in any more; `close` decides on the one that was found."""
        if self._attempt is not None:
            self._attempt.abandon(dedupe.Cache.close)
        if self.found is not None:
            close(self.found)
