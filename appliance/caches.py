"""The chunk caches of a data plane: on disk where that can be had, saved beside the traffic, never in its way."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import dedupe
from appliance.config import Config
from appliance.config.units import show_size
from appliance.events import Severity
from appliance.index_memory import IndexMemory, usual_budget
from appliance.loop import Loop, Worker

SAVE_S = 1.0  # between two rounds of saving
READY_S = (
    0.5  # spent on reading back what earlier processes left before traffic begins; the rest is read beside it
)
READY_STEP_S = 0.02  # at one cache's turn
PREPARE = 16 << 20  # bytes of each log made ready when a peer comes up,
PREPARED_PEERS = 4  # on a box that has so many at most: a hub's memory goes to whoever sends
MEMORY_ONLY = 64 << 20  # bytes of each log of a cache that the disk cannot hold, at most

Emit = Callable[[str, Severity, str, str, dict[str, Any]], None]


@dataclass(frozen=True)
class _Place:
    """Whose an open cache is."""

    peer: str
    domain: int


class Caches:
    """Opens caches under `directory`, saves them from a thread of its own, and shares the index memory out."""

    def __init__(self, loop: Loop, directory: Path, box: str, emit: Emit) -> None:
        self._loop = loop
        self._directory = directory
        self._box = box
        self._emit = emit
        self._worker = Worker(loop, "caches")
        self._open: dict[dedupe.Cache, _Place] = {}
        self._saving: set[dedupe.Cache] = set()
        self._memory: IndexMemory[dedupe.Cache] = IndexMemory(0)
        self._asked: frozenset[tuple[str, int]] = frozenset()
        loop.call_later(SAVE_S, self._round)

    def configure(self, config: Config) -> None:
        """Takes over what the box may use; caches that nobody asks for give way. It comes before the first open."""
        asked = {
            (str(peer.id), domain): int(peer.cache)
            for peer in config.peers
            for domain in config.domains(peer.id)
        }
        logs = sum(2 * capacity for capacity in asked.values())
        self._memory.budget = int(config.cache.index) or usual_budget(logs, _machine_memory())
        self._asked = frozenset(asked)
        self._delete(int(config.cache.disk) - sum(map(dedupe.disk_size, asked.values())))

    def open(self, peer: str, capacity: int, domain: int) -> dedupe.Cache:
        """The cache of a peer's domain; in memory only, and an event says so, if the disk cannot hold it."""
        try:
            cache = self._on_disk(peer, capacity, domain)
        except (dedupe.CacheInUse, dedupe.StoreError, OSError) as error:
            capacity = min(capacity, MEMORY_ONLY)
            text = (
                f"the chunk cache of peer {peer} is kept in memory only, {show_size(capacity)} of each log, and a "
                f"restart will forget it: {error}"
            )
            self._emit("cache.memory_only", "error", peer, text, {"directory": str(self._directory)})
            cache = dedupe.Cache(capacity=capacity, index=0)
        self._open[cache] = _Place(peer, domain)
        self._memory.add(cache, dedupe.usual_index(capacity))
        self._memory.use(cache, self._loop.now)
        self._loop.at_end(self._share)  # with the other peers, if several are opened now
        self._tell(cache)
        return cache

    def ready(self) -> None:
        """Before the loop runs: small caches are warm from the first flow on, of large ones the newest part."""
        end = self._loop.clock() + READY_S
        for cache, size in self._memory.plan(self._loop.now):
            cache.resize(size)
        waiting = list(self._open)
        while waiting and self._loop.clock() < end:
            waiting = [cache for cache in waiting if cache.recover(READY_STEP_S, self._loop.clock)]

    def used(self, cache: dedupe.Cache) -> None:
        """Something was logged: it is saved now if the next round would be too late."""
        if self._memory.use(cache, self._loop.now):
            self._share()
        if cache.wants_sync:
            self._save(cache)

    def prepare(self, caches: list[dedupe.Cache]) -> None:
        """Memory for the peer whose caches these are; faulting it in beside the traffic, which would wait for it."""
        for cache in caches:
            self._memory.use(cache, self._loop.now)
        self._share()
        if len({place.peer for place in self._open.values()}) > PREPARED_PEERS:
            return
        for cache in caches:
            self._worker.submit(lambda cache=cache: cache.prepare(PREPARE), self._prepared)  # type: ignore[misc]

    def close(self, cache: dedupe.Cache) -> None:
        """Saves all of it and lets go of it; nothing may be encoded or decoded with it any more."""
        self._worker.drain()
        self._memory.remove(cache)
        peer = self._open.pop(cache).peer
        try:
            cache.close()
        except OSError as error:
            text = f"the chunk cache of peer {peer} was not saved whole: {error.strerror or error}"
            self._emit("cache.disk", "error", peer, text, {})

    def clear(self, peer: str) -> None:
        """Empties the caches of a peer, all of which must be closed."""
        dedupe.clear(self._directory, peer=peer)

    def describe(self, _params: dict[str, Any]) -> dict[str, Any]:
        """Bytes of index memory: of each open cache, of all, and the limit. unread: of log, not indexed yet."""
        caches = [
            {
                "peer": place.peer,
                "domain": place.domain,
                "index": self._memory.has(cache),
                "unread": cache.unread,
            }
            for cache, place in self._open.items()
        ]
        return {"caches": caches, "index": self._memory.granted, "index_limit": self._memory.budget}

    def stop(self) -> None:
        for cache in list(self._open):
            self.close(cache)
        self._worker.close()

    # The disk.

    def _on_disk(self, peer: str, capacity: int, domain: int) -> dedupe.Cache:
        while True:
            try:
                return dedupe.open_cache(
                    self._directory,
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
        """Caches that the configuration asks for no longer."""
        return [
            cache for cache in dedupe.stored(self._directory) if (cache.peer, cache.domain) not in self._asked
        ]

    def _delete(self, room: int) -> int:
        """Leaves those that nobody asks for `room` bytes of disk. Returns how many went."""
        gone = 0
        try:
            for cache in dedupe.too_many(self._unasked(), room):
                dedupe.delete([cache.path])
                gone += 1
                text = (
                    f"{cache.path}, which no peer or rule asks for, was deleted to make room for the others"
                )
                self._emit("cache.deleted", "info", cache.peer, text, {"bytes": cache.size})
        except (dedupe.CacheInUse, OSError) as error:
            self._emit(
                "cache.disk", "warning", self._box, f"an unused chunk cache could not be deleted: {error}", {}
            )
        return gone

    # Beside the traffic.

    def _round(self) -> None:
        self._loop.call_later(SAVE_S, self._round)
        self._share()
        for cache in self._open:
            self._save(cache)

    def _share(self) -> None:
        for cache, size in self._memory.plan(self._loop.now):

            def resized(_result: None, error: Exception | None, cache: dedupe.Cache = cache) -> None:
                self._prepared(None, error)
                self._save(cache)  # which reads back what it now has room for

            self._worker.submit(lambda cache=cache, size=size: cache.resize(size), resized)  # type: ignore[misc]

    def _save(self, cache: dedupe.Cache) -> None:
        if cache in self._saving or cache not in self._open:
            return
        self._saving.add(cache)

        def saved(more: bool | None, error: Exception | None) -> None:
            self._saving.discard(cache)
            if cache not in self._open:
                return
            if error is not None:
                peer = self._open[cache].peer
                text = f"the chunk cache of peer {peer} could not be saved: {error}"
                self._emit("cache.disk", "error", peer, text, {})
            self._tell(cache)
            if more or (error is None and cache.wants_sync):
                self._save(cache)

        self._worker.submit(cache.sync, saved)

    def _prepared(self, _result: None, error: Exception | None) -> None:
        if error is not None:
            self._emit("cache.memory", "error", self._box, f"memory for the chunk cache: {error}", {})

    def _tell(self, cache: dedupe.Cache) -> None:
        peer = self._open[cache].peer
        for finding in cache.findings():
            self._emit(
                finding.kind, cast(Severity, finding.severity), peer, finding.text, dict(finding.evidence)
            )


def _machine_memory() -> int:
    """Bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
