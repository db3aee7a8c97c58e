"""Two boxes with a disk each, a background thread each, and traffic between them that can be cut off anywhere."""

from __future__ import annotations

import random
import threading
from pathlib import Path

from dedupe import BadBlock, Cache, Effort, open_cache
from tests.unit.dedupe.store.power import Cut, ShadowedFiles

CAPACITY, GAP = 8 << 20, 1 << 20
SYNC_STEP = 1 << 18


class Side:
    """A box: up (cache, thread) or down (files only)."""

    def __init__(self, root: Path, name: str, peer: str, seed: int) -> None:
        self.name, self.peer = name, peer
        self.files = ShadowedFiles(seed)
        self.cache: Cache | None = None
        self._root = root / name
        self._work = threading.Event()
        self._down = threading.Event()
        self._thread: threading.Thread | None = None
        self._steps = threading.Condition()
        self._begun = self._done = 0

    def up(self) -> Cache:
        assert self.cache is not None
        return self.cache

    def open(self, *, verified: bool = True) -> Cache:
        """May raise Cut when a fuse is lit. verified: read back before anything else, not beside the traffic."""
        self.cache = open_cache(
            self._root,
            box=self.name,
            peer=self.peer,
            capacity=CAPACITY,
            gap=GAP,
            files=self.files,
            ready_s=30 if verified else 0,
        )
        self._down.clear()
        self._thread = threading.Thread(target=self._background, args=(self.cache,))
        self._thread.start()
        return self.cache

    def nudge(self) -> None:
        """The background thread has something to do."""
        self._work.set()

    def settle(self) -> None:
        """Until what has passed so far is saved."""
        with self._steps:
            wanted = self._begun + 1
            self._work.set()
            assert self._steps.wait_for(lambda: self._done >= wanted, timeout=30)

    def crash(self, power: bool, fuse: int) -> None:
        """fuse: operations on the disk that the background thread may still do."""
        self.files.fuse = fuse
        self._down.set()
        self._work.set()
        if self._thread is not None:
            self._thread.join()
        self._thread = self.cache = None
        (self.files.cut if power else self.files.kill)()

    def _background(self, cache: Cache) -> None:
        try:
            while True:
                self._work.wait()
                self._work.clear()
                with self._steps:
                    self._begun += 1
                while cache.sync(SYNC_STEP) and not self._down.is_set():
                    pass
                with self._steps:
                    self._done = self._begun
                    self._steps.notify_all()
                if self._down.is_set():
                    return
        except Cut:
            self._down.set()


class Traffic:
    """wrong: bytes that came out and had not gone in. refused: blocks that had to be sent twice."""

    def __init__(self, chance: random.Random) -> None:
        self.wrong = self.refused = 0
        self._chance = chance
        self.known = [self.files() for _ in range(3)]  # by round, the newest last

    def files(self) -> list[bytes]:
        """What somebody downloads for the first time."""
        return [self._chance.randbytes(self._chance.randrange(20_000, 60_000)) for _ in range(6)]

    def novel(self) -> bytes:
        """Something with a part of what is known in it, of a size that a flow's block has."""
        part = self._chance.choice(self._chance.choice(self.known))
        at = self._chance.randrange(len(part))
        return self._chance.randbytes(self._chance.randrange(100, 40_000)) + part[at:]

    def send(self, sender: Side, receiver: Side, raw: bytes, effort: Effort = Effort.FAST) -> int:
        """Returns the bytes that did not have to be sent."""
        encoder, decoder = sender.up(), receiver.up()
        block = encoder.encode(raw, effort=effort)
        try:
            out = decoder.decode(block.wire, limit=len(raw))
        except BadBlock:
            self.refused += 1
            encoder.reject(block)
            block = encoder.encode(raw, effort=effort, literal=True)
            out = decoder.decode(block.wire, limit=len(raw))
        self.wrong += out != raw
        encoder.acknowledge(block)
        sender.nudge()
        receiver.nudge()
        return block.copied
