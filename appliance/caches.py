"""The chunk caches of a data plane: on disk where that can be had, saved beside the traffic, never in its way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import dedupe
from appliance.answering import HUNG_S, Answering
from appliance.cache_disk import READY_S, CacheDisk, Emit
from appliance.config import Config
from appliance.config.units import show_size
from appliance.events import Severity
from appliance.index_memory import IndexMemory, usual_budget
from appliance.loop import Loop, Worker
from appliance.spread import ALONE, Part
from appliance.stand_in import Place, StandIn

SAVE_S = 1.0  # between two rounds of saving
READY_STEP_S = 0.02  # at one cache's turn to be read back before traffic begins
CLOSE_S = 3.0  # less than a data plane may take to stop
STARTER = 64 << 20  # bytes of index before traffic begins: to fault a large one in takes its time
PREPARE = 16 << 20  # bytes of each log made ready when a peer comes up,
PREPARED_PEERS = 4  # on a box that has so many at most: a hub's memory goes to whoever sends

Restore = Callable[[str, int, dedupe.Cache], bool]


class Caches:
    """Opens caches under `directory`, saves them from a thread of its own, and shares the index memory out.

    restore(peer, domain, cache) is called when a cache that stood in memory only can be had on disk; False: not now.
    """

    def __init__(
        self, loop: Loop, directory: Path, box: str, emit: Emit, restore: Restore, part: Part = ALONE
    ) -> None:
        self._loop = loop
        self._box = box
        self._emit = emit
        self._restore = restore
        self._part = part
        self._disk = CacheDisk(loop, directory, box, emit)
        self._worker = Worker(loop, "caches")
        self._answering = Answering()
        self._open: dict[dedupe.Cache, Place] = {}
        self._stand_ins: dict[dedupe.Cache, StandIn] = {}
        self._saving: set[dedupe.Cache] = set()
        self._memory: IndexMemory[dedupe.Cache] = IndexMemory(0)
        self._trimming = False
        loop.call_later(SAVE_S, self._round)

    def configure(self, config: Config) -> None:
        """Takes over what the box may use; caches that nobody asks for give way. It comes before the first open."""
        asked = {
            (str(peer.id), domain): int(peer.cache)
            for peer in config.peers
            for domain in config.domains(peer.id)
        }
        logs = sum(2 * capacity for capacity in asked.values())
        own = sum(2 * capacity for (peer, _), capacity in asked.items() if self._part.has(peer))
        budget = int(config.cache.index) or usual_budget(logs, dedupe.machine_memory())
        self._memory.budget = budget * own // max(logs, 1)
        self._disk.asked = frozenset(asked)
        if self._part.number == 1:  # of several processes one is enough to tidy up
            self._disk.make_room(int(config.cache.disk) - sum(map(dedupe.disk_size, asked.values())))

    def open(self, peer: str, capacity: int, domain: int) -> dedupe.Cache:
        """The cache of a peer's domain; in memory only for the time being, and an event says so, if the disk fails."""
        place = Place(peer, domain, capacity)
        attempt = self._disk.open(peer, capacity, domain)
        late = self._disk.stuck = not attempt.wait(self._disk.patience)
        try:
            if late:
                raise dedupe.StoreError(f"{self._disk.directory} does not answer")
            cache = attempt.result()
        except (dedupe.CacheInUse, dedupe.StoreError, OSError) as error:
            capacity = min(capacity, dedupe.IN_MEMORY)
            text = (
                f"the chunk cache of peer {peer} is in memory only, {show_size(capacity)} of each log, until the disk "
                f"can hold it: {error}"
            )
            self._emit("cache.memory_only", "error", peer, text, {"directory": str(self._disk.directory)})
            cache = dedupe.Cache(capacity=capacity, index=0)
            self._stand_ins[cache] = StandIn(self._disk, place, self._loop.clock(), attempt if late else None)
        self._adopt(cache, place, capacity)
        return cache

    def ready(self) -> None:
        """Before the loop runs: small caches are warm from the first flow on, of large ones the newest part."""
        caches, plan, end = list(self._open), self._memory.plan(self._loop.now), self._loop.clock() + READY_S

        def read_back() -> None:
            for cache, size in plan:
                cache.resize(min(size, STARTER), faulted=False)
            waiting = caches
            while waiting and self._loop.clock() < end:
                waiting = [
                    cache
                    for cache in waiting
                    if self._timed(lambda cache=cache: cache.recover(READY_STEP_S, self._loop.clock))  # type: ignore[misc]
                ]

        self._worker.submit(read_back, self._prepared)
        self._worker.drain(READY_S + HUNG_S)
        self._look()
        self._resize([(cache, size) for cache, size in plan if size > STARTER])

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

    def rest(self, caches: list[dedupe.Cache]) -> None:
        """Memory that only flows need goes back to the system, for all that come to rest about now together."""
        for cache in caches:
            cache.rest()
        if not self._trimming:
            self._trimming = True
            self._loop.call_later(SAVE_S, self._trim)

    def _trim(self) -> None:
        self._trimming = False
        self._worker.submit(dedupe.trim_heap, self._prepared)

    def close(self, *caches: dedupe.Cache) -> None:
        """Saves all of them and lets go of them; nothing may be encoded or decoded with them any more."""
        peers = {cache: self._open.pop(cache).peer for cache in caches}
        for cache in caches:
            self._memory.remove(cache)
            stand_in = self._stand_ins.pop(cache, None)
            if stand_in is not None:
                stand_in.give_up(self._dispose)
            self._worker.submit(cache.close, _nothing)
        saved = self._worker.drain(self._disk.patience if self._disk.stuck else CLOSE_S)
        self._disk.stuck = not saved
        for cache, peer in peers.items():
            if saved:
                self._tell(cache, peer)
            else:
                text = f"the chunk cache of peer {peer} was not saved whole: {self._disk.directory} does not answer"
                self._emit("cache.disk", "error", peer, text, {})

    def clear(self, peer: str | None) -> None:
        """Empties the caches of a peer, or all there are; they must be closed. StoreError, OSError."""
        self._disk.clear(peer)

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
        self.close(*self._open)
        if not self._disk.stuck:
            self._worker.close()

    # Beside the traffic.

    def _round(self) -> None:
        self._loop.call_later(SAVE_S, self._round)
        self._look()
        self._share()
        for cache in self._open:
            self._save(cache)
        for stand_in in list(self._stand_ins.values()):
            self._try_again(stand_in)

    def _share(self) -> None:
        self._resize(self._memory.plan(self._loop.now))

    def _resize(self, plan: list[tuple[dedupe.Cache, int]]) -> None:
        for cache, size in plan:

            def resized(_result: None, error: Exception | None, cache: dedupe.Cache = cache) -> None:
                self._prepared(None, error)
                self._save(cache)  # which reads back what it now has room for

            self._worker.submit(lambda cache=cache, size=size: cache.resize(size), resized)  # type: ignore[misc]

    def _timed(self, step: Callable[[], bool]) -> bool:
        """In the worker's thread."""
        self._answering.begin(self._loop.clock())
        try:
            return step()
        finally:
            self._answering.end(self._loop.clock())

    def _save(self, cache: dedupe.Cache) -> None:
        if cache in self._saving or cache not in self._open:
            return
        self._saving.add(cache)

        def saved(more: bool | None, error: Exception | None) -> None:
            self._saving.discard(cache)
            if cache not in self._open:
                return
            peer = self._open[cache].peer
            if error is not None:
                text = f"the chunk cache of peer {peer} could not be saved: {error}"
                self._emit("cache.disk", "error", peer, text, {})
            self._tell(cache, peer)
            if more or (error is None and cache.wants_sync):
                self._save(cache)

        self._worker.submit(lambda: self._timed(cache.sync), saved)

    def _look(self) -> None:
        """Takes the disk out of the traffic's way when it hangs, and into use again when it does not."""
        if not self._answering.look(self._loop.clock()):
            return
        if self._answering.yes:
            text = f"{self._disk.directory}: the disk answers again; the chunk caches use it"
            self._emit("cache.disk", "info", self._box, text, {})
        else:
            text = (
                f"{self._disk.directory}: the disk has not answered for {HUNG_S:.0f} s; the chunk caches go on with "
                "what is in memory; look at the disk"
            )
            self._emit("cache.disk", "error", self._box, text, {})
        for cache in self._open:
            if self._answering.yes:
                cache.bring_back()
            else:
                cache.set_aside()

    # A cache in memory in place of one on disk.

    def _try_again(self, stand_in: StandIn) -> None:
        place = stand_in.place
        if stand_in.look(self._loop.clock()):
            text = (
                f"the chunk cache of peer {place.peer} can be had on disk again; it is used as soon as no flow of "
                "this peer is open"
            )
            evidence = {"directory": str(self._disk.directory)}
            self._emit("cache.restored", "info", place.peer, text, evidence)
        found = stand_in.found
        if found is not None:
            # First: the stand-in is closed by whoever takes the other.
            self._adopt(found, place, place.capacity)
            if not self._restore(place.peer, place.domain, found):
                del self._open[found]
                self._memory.remove(found)

    def _dispose(self, found: dedupe.Cache) -> None:
        if found not in self._open:
            self._worker.submit(found.close, _nothing)

    def _adopt(self, cache: dedupe.Cache, place: Place, capacity: int) -> None:
        self._open[cache] = place
        self._memory.add(cache, dedupe.usual_index(capacity))
        self._memory.use(cache, self._loop.now)
        self._loop.at_end(self._share)  # with the other peers, if several are opened now
        if self._answering.yes:
            cache.bring_back()  # it may have waited here since the disk did not answer
        else:
            cache.set_aside()
        self._tell(cache, place.peer)

    def _prepared(self, _result: None, error: Exception | None) -> None:
        if error is not None:
            self._emit("cache.memory", "error", self._box, f"memory for the chunk cache: {error}", {})

    def _tell(self, cache: dedupe.Cache, peer: str) -> None:
        for finding in cache.findings():
            self._emit(
                finding.kind, cast(Severity, finding.severity), peer, finding.text, dict(finding.evidence)
            )


def _nothing(_result: Any, _error: Exception | None) -> None:
    """For who does not wait for an answer."""
