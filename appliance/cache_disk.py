"""The directory of the chunk caches, asked in threads that may be left behind: its disk may hang."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dedupe
from appliance.attempt import Attempt
from appliance.events import Severity
from appliance.loop import Loop

OPEN_S = 2.0  # that the loop waits for the disk; less than a data plane may give no sign of life
STUCK_S = 0.1  # the same, when it has just kept somebody waiting
READY_S = 0.25  # spent on reading back a cache's journal and newest bytes

Emit = Callable[[str, Severity, str, str, dict[str, Any]], None]


class CacheDisk:
    """The caches of box `box` under `directory`. asked: (peer, domain) of those that the configuration asks for."""

    def __init__(self, loop: Loop, directory: Path, box: str, emit: Emit) -> None:
        self.directory = directory
        self.asked: frozenset[tuple[str, int]] = frozenset()
        self.stuck = False
        self._loop = loop
        self._box = box
        self._emit = emit

    @property
    def patience(self) -> float:
        """Seconds that somebody may wait for it."""
        return STUCK_S if self.stuck else OPEN_S

    def open(self, peer: str, capacity: int, domain: int) -> Attempt[dedupe.Cache]:
        """Its result, or CacheInUse, StoreError or OSError."""
        return Attempt(partial(self._open, peer, capacity, domain), "open")

    def make_room(self, room: int) -> None:
        """Leaves the caches that nobody asks for `room` bytes."""
        self.stuck = not Attempt(partial(self._delete, room), "make room").wait(self.patience)

    def clear(self, peer: str | None) -> None:
        """Empties the caches of a peer, or all there are; they must be closed. StoreError, OSError."""
        attempt = Attempt(partial(dedupe.clear, self.directory, peer=peer), "clear")
        self.stuck = not attempt.wait(self.patience)
        if self.stuck:
            raise dedupe.StoreError(f"{self.directory} does not answer; look at the disk, then clear again")
        attempt.result()

    # In threads of their own.

    def _open(self, peer: str, capacity: int, domain: int) -> dedupe.Cache:
        while True:
            try:
                return dedupe.open_cache(
                    self.directory,
                    box=self._box,
                    peer=peer,
                    capacity=capacity,
                    domain=domain,
                    index=0,
                    ready_s=READY_S,
                )
            except dedupe.StoreError as error:
                cause = error.__cause__
                full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
                if not full or not self._delete(sum(cache.size for cache in self._unasked()) - 1):
                    raise

    def _unasked(self) -> list[dedupe.Stored]:
        return [
            cache for cache in dedupe.stored(self.directory) if (cache.peer, cache.domain) not in self.asked
        ]

    def _delete(self, room: int) -> int:
        """Returns how many went."""
        gone = 0
        try:
            for cache in dedupe.too_many(self._unasked(), room):
                try:
                    dedupe.delete([cache.path])
                except dedupe.CacheInUse:
                    continue  # by a peer that has had no need of that domain lately
                gone += 1
                text = (
                    f"{cache.path}, which no peer or rule asks for, was deleted to make room for the others"
                )
                self._tell("cache.deleted", "info", cache.peer, text, {"bytes": cache.size})
        except OSError as error:
            text = f"an unused chunk cache could not be deleted: {error}"
            self._tell("cache.disk", "warning", self._box, text, {})
        return gone

    def _tell(self, kind: str, severity: Severity, subject: str, text: str, evidence: dict[str, Any]) -> None:
        self._loop.call_threadsafe(lambda: self._emit(kind, severity, subject, text, evidence))
