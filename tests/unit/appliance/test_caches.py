"""The chunk caches of a box: what they take of the disk and of memory together."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import appliance.caches
import appliance.stand_in
import dedupe
from appliance.caches import Caches
from appliance.config import Config, load
from appliance.config.units import Size
from appliance.loop import Loop
from dedupe.store.files import File

EXAMPLE = Path(__file__).parents[3] / "examples/branch.toml"  # has the peer "dc"
CAPACITY = 1 << 20


class Room:
    """A data plane's caches, and what they told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.events: list[str] = []
        self.loop = Loop()
        self.caches = Caches(self.loop, directory, "branch-1", self._emit, self._restore)
        self.wanted = False  # whether a cache on disk may take the place of one in memory
        self.restored: list[dedupe.Cache] = []

    def _emit(self, kind: str, severity: str, subject: str, text: str, evidence: dict[str, Any]) -> None:
        del severity, text, evidence
        self.events.append(f"{kind} {subject}")

    def _restore(self, _peer: str, _domain: int, cache: dedupe.Cache) -> bool:
        if self.wanted:
            self.restored.append(cache)
        return self.wanted

    def until(self, condition: Callable[[], bool]) -> None:
        end = self.loop.clock() + 20
        while not condition():
            assert self.loop.clock() < end
            self.loop.call_later(0.01, lambda: None)
            self.loop.round()

    def peers(self) -> list[str]:
        return [cache.peer for cache in dedupe.stored(self.directory)]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    for at, peer in enumerate(("gone", "away", "dc")):
        dedupe.open_cache(tmp_path, box="branch-1", peer=peer, capacity=CAPACITY).close()
        for file in (tmp_path / peer).rglob("*.*"):
            os.utime(file, (at, at))
    made = Room(tmp_path)
    yield made
    made.caches.stop()
    made.loop.close()


def config(disk: int, index: int = 0) -> Config:
    whole = load(EXAMPLE, files=False)
    peer = msgspec.structs.replace(whole.peers[0], cache=Size(CAPACITY))
    cache = msgspec.structs.replace(whole.cache, disk=Size(disk), index=Size(index))
    return msgspec.structs.replace(whole, peers=(peer,), cache=cache)


def test_unasked_caches_stay_while_there_is_room(room: Room) -> None:
    size = dedupe.stored(room.directory)[0].size
    room.caches.configure(config(3 * size))
    assert room.peers() == ["away", "dc", "gone"]
    room.caches.configure(config(3 * size - 5000))
    assert room.peers() == ["away", "dc"]
    room.caches.configure(config(size))
    assert room.peers() == ["dc"]
    room.until(lambda: len(room.events) == 2)
    assert room.events == ["cache.deleted gone", "cache.deleted away"]


def test_an_unasked_cache_that_is_still_open_stays(room: Room) -> None:
    held = dedupe.open_cache(room.directory, box="branch-1", peer="gone", capacity=CAPACITY)
    room.caches.configure(config(1))
    assert room.peers() == ["dc", "gone"]
    room.until(lambda: bool(room.events))
    assert room.events == ["cache.deleted away"]
    held.close()


def test_a_full_disk_takes_unasked_caches_first(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(file: File, size: int) -> None:
        if len(room.peers()) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.ftruncate(file.descriptor, size)

    monkeypatch.setattr(File, "allocate", allocate)
    room.caches.configure(config(1 << 40))
    cache = room.caches.open("dc", 2 * CAPACITY, 0)
    assert room.peers() == ["away", "dc"]
    room.until(lambda: "cache.deleted gone" in room.events)
    assert "cache.memory_only dc" not in room.events
    assert cache.stats().log_capacity >= 4 * CAPACITY


def test_without_a_disk_a_cache_is_small(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(file: File, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(File, "allocate", allocate)
    room.caches.configure(config(1 << 40))
    cache = room.caches.open("dc", 1 << 34, 0)
    assert room.events[-1] == "cache.memory_only dc"
    assert 2 * dedupe.IN_MEMORY <= cache.stats().log_capacity < 3 * dedupe.IN_MEMORY


def test_index_memory_is_shared_out_and_told(room: Room) -> None:
    room.caches.configure(config(1 << 40, index=200_000))
    cache = room.caches.open("dc", CAPACITY, 0)
    room.until(lambda: cache.stats().index == 1 << 17)
    assert room.caches.describe({}) == {
        "caches": [{"peer": "dc", "domain": 0, "index": 1 << 17, "unread": 0}],
        "index": 1 << 17,
        "index_limit": 200_000,
    }
    other = room.caches.open("other", CAPACITY, 0)
    room.until(lambda: 0 < other.stats().index + cache.stats().index < 200_000)
    room.caches.configure(config(1 << 40, index=1 << 20))
    room.until(lambda: other.stats().index == cache.stats().index == 1 << 17)


def test_a_cache_comes_back_when_the_disk_can_hold_it(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(file: File, size: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(appliance.stand_in, "AGAIN_S", 0.0)
    room.caches.configure(config(1 << 40))
    with monkeypatch.context() as broken:
        broken.setattr(File, "allocate", allocate)
        memory = room.caches.open("other", CAPACITY, 0)
    room.until(lambda: "cache.restored other" in room.events)
    assert room.restored == []
    monkeypatch.setattr(appliance.caches, "SAVE_S", 0.01)
    found = room.caches._stand_ins[memory].found
    assert found is not None
    room.caches._answering._slow_at = room.loop.clock()
    room.caches._answering.yes = False  # the disk hangs while this one waits to be used
    room.until(lambda: found._mine._aside is not None)  # type: ignore[attr-defined]
    room.caches._answering.yes = room.wanted = True
    room.until(lambda: bool(room.restored))
    assert found._mine._aside is None  # type: ignore[attr-defined]
    room.caches.close(memory)
    assert room.peers() == ["away", "dc", "gone", "other"]
    assert [report.in_use for report in dedupe.inspect(room.directory, peer="other")] == [True]


def test_a_disk_that_hangs_holds_nobody_up(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    allocate_now = File.allocate

    def allocate(file: File, size: int) -> None:
        answer.wait(20)
        allocate_now(file, size)

    monkeypatch.setattr(File, "allocate", allocate)
    room.caches.configure(config(1 << 40))
    for peer in ("one", "two"):
        assert room.caches.open(peer, CAPACITY, 0).stats().log_capacity > 0
    assert room.events == ["cache.memory_only one", "cache.memory_only two"]
    answer.set()
    room.until(lambda: {"cache.restored one", "cache.restored two"} <= set(room.events))
