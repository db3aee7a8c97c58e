"""The chunk caches of a data plane: on disk where that can be had, saved beside the traffic, never in its way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import dedupe
from appliance.events import Severity
from appliance.loop import Loop, Worker

SAVE_S = 1.0  # between two rounds of saving
READY_S = 0.5  # spent on reading back a cache when it is opened; the rest is read beside the traffic
PREPARE = 16 << 20  # bytes of each log made ready when a peer comes up,
PREPARED_PEERS = 4  # on a box that has so many at most: a hub's memory goes to whoever sends

Emit = Callable[[str, Severity, str, str, dict[str, Any]], None]


class Caches:
    """Opens caches under `directory` and saves them from a thread of its own."""

    def __init__(self, loop: Loop, directory: Path, box: str, emit: Emit) -> None:
        self._loop = loop
        self._directory = directory
        self._box = box
        self._emit = emit
        self._worker = Worker(loop, "caches")
        self._open: dict[dedupe.Cache, str] = {}
        self._saving: set[dedupe.Cache] = set()
        loop.call_later(SAVE_S, self._round)

    def open(self, peer: str, capacity: int, domain: int) -> dedupe.Cache:
        """The cache of a peer's domain; in memory only, and an event says so, if the disk cannot hold it."""
        try:
            cache = dedupe.open_cache(
                self._directory, box=self._box, peer=peer, capacity=capacity, domain=domain, ready_s=READY_S
            )
        except (dedupe.CacheInUse, dedupe.StoreError, OSError) as error:
            text = f"the chunk cache of peer {peer} is kept in memory only, a restart will forget it: {error}"
            self._emit("cache.memory_only", "error", peer, text, {"directory": str(self._directory)})
            cache = dedupe.Cache(capacity=capacity)
        self._open[cache] = peer
        self._tell(cache)
        return cache

    def used(self, cache: dedupe.Cache) -> None:
        """Something was logged: it is saved now if the next round would be too late."""
        if cache.wants_sync:
            self._save(cache)

    def prepare(self, caches: list[dedupe.Cache]) -> None:
        """Faults memory in beside the traffic: done by the traffic, the first megabytes would wait for it."""
        if len(set(self._open.values())) > PREPARED_PEERS:
            return
        for cache in caches:
            self._worker.submit(lambda cache=cache: cache.prepare(PREPARE), self._prepared)  # type: ignore[misc]

    def close(self, cache: dedupe.Cache) -> None:
        """Saves all of it and lets go of it; nothing may be encoded or decoded with it any more."""
        self._worker.drain()
        peer = self._open.pop(cache)
        try:
            cache.close()
        except OSError as error:
            text = f"the chunk cache of peer {peer} was not saved whole: {error.strerror or error}"
            self._emit("cache.disk", "error", peer, text, {})

    def clear(self, peer: str) -> None:
        """Empties the caches of a peer, all of which must be closed."""
        dedupe.clear(self._directory, peer=peer)

    def stop(self) -> None:
        for cache in list(self._open):
            self.close(cache)
        self._worker.close()

    def _round(self) -> None:
        self._loop.call_later(SAVE_S, self._round)
        for cache in self._open:
            self._save(cache)

    def _save(self, cache: dedupe.Cache) -> None:
        if cache in self._saving or cache not in self._open:
            return
        self._saving.add(cache)

        def saved(more: bool | None, error: Exception | None) -> None:
            self._saving.discard(cache)
            if cache not in self._open:
                return
            if error is not None:
                text = f"the chunk cache of peer {self._open[cache]} could not be saved: {error}"
                self._emit("cache.disk", "error", self._open[cache], text, {})
            self._tell(cache)
            if more or (error is None and cache.wants_sync):
                self._save(cache)

        self._worker.submit(cache.sync, saved)

    def _prepared(self, _result: None, error: Exception | None) -> None:
        if error is not None:
            self._emit("cache.memory", "error", self._box, f"memory for the chunk cache: {error}", {})

    def _tell(self, cache: dedupe.Cache) -> None:
        peer = self._open[cache]
        for finding in cache.findings():
            self._emit(
                finding.kind, cast(Severity, finding.severity), peer, finding.text, dict(finding.evidence)
            )
