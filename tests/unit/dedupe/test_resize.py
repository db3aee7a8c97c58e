"""The index of a cache gets and gives memory while traffic goes on."""

from __future__ import annotations

import threading

import pytest

from dedupe import Cache, Effort
from dedupe.index import usual_index
from tests.unit.dedupe.corpus import NOISE, pair

PIECES = [NOISE[at : at + 20_000] for at in range(0, len(NOISE) - 20_000, 20_000)]
SIZE = 1 << 18


def copied(sender: Cache, receiver: Cache) -> float:
    """Share of PIECES that need not be sent; what is sent is not stored, so that asking changes nothing."""
    found = 0
    for piece in PIECES:
        block = sender.encode(piece, effort=Effort.RAW, store=False)
        assert receiver.decode(block.wire, limit=len(piece)) == piece
        found += block.copied
    return found / sum(map(len, PIECES))


@pytest.fixture
def caches() -> tuple[Cache, Cache]:
    """PIECES have passed."""
    sender, receiver = pair()
    for piece in PIECES:
        block = sender.encode(piece, effort=Effort.RAW)
        assert receiver.decode(block.wire, limit=len(piece)) == piece
        sender.acknowledge(block)
    return sender, receiver


def test_another_size_finds_the_same(caches: tuple[Cache, Cache]) -> None:
    sender, receiver = caches
    for size in (SIZE, SIZE // 2, SIZE):
        sender.resize(size)
        assert sender.stats().index == size
        assert copied(sender, receiver) == 1
        assert copied(receiver, sender) == 1


def test_what_was_given_back_is_read_again(caches: tuple[Cache, Cache]) -> None:
    for sender, receiver in (caches, caches[::-1]):
        sender.resize(0)
        assert not sender.sync()
        assert copied(sender, receiver) == 0
        sender.resize(SIZE)
        while sender.sync(50_000):
            pass
        assert copied(sender, receiver) == 1


def test_the_newest_comes_first(caches: tuple[Cache, Cache]) -> None:
    sender, receiver = caches
    sender.resize(0)
    sender.resize(SIZE)
    assert sender.sync(2 * len(PIECES[0]))
    newest, oldest = (
        sender.encode(piece, effort=Effort.RAW, store=False) for piece in (PIECES[-1], PIECES[0])
    )
    assert (newest.copied, oldest.copied) == (len(PIECES[-1]), 0)
    for block in (newest, oldest):
        assert receiver.decode(block.wire, limit=1 << 20)


def test_what_is_still_to_be_read_is_not_forgotten(caches: tuple[Cache, Cache]) -> None:
    """The share of the box's memory changes again before the logs have been read."""
    sender, receiver = caches
    sender.resize(0)
    for size in (SIZE, SIZE // 2):
        sender.resize(size)
    while sender.sync(50_000):
        pass
    assert copied(sender, receiver) == 1


def test_a_far_larger_index_is_used_when_it_is_filled(caches: tuple[Cache, Cache]) -> None:
    sender, receiver = caches
    fresh = NOISE[::-1][:20_000]
    sender.resize(1 << 16)
    sender.resize(1 << 20)
    sizes = []
    while True:
        assert copied(sender, receiver) == 1
        sizes.append(sender.stats().index)
        if len(sizes) == 2:
            block = sender.encode(fresh, effort=Effort.RAW)
            assert receiver.decode(block.wire, limit=1 << 20) == fresh
            sender.acknowledge(block)
        if not sender.sync(30_000):
            break
    assert sizes[:3] == [1 << 16] * 3
    assert sender.stats().index == 1 << 20
    assert sender.encode(fresh, effort=Effort.RAW, store=False).copied == len(fresh)
    sender.resize(1 << 16)
    sender.resize(1 << 20)
    sender.resize(0)  # none of the three is in use, then
    assert not sender.sync()
    assert sender.stats().index == 1 << 16


def test_beside_traffic(caches: tuple[Cache, Cache]) -> None:
    """Sizes change under two threads that encode and decode; every byte arrives."""
    sender, receiver = caches
    done = threading.Event()
    errors: list[BaseException] = []

    def resize() -> None:
        try:
            while not done.is_set():
                for size in (SIZE, 0, 4 * SIZE, 1 << 16):
                    for cache in caches:
                        cache.resize(size)
                        cache.sync(100_000)
        except BaseException as error:
            errors.append(error)
            raise

    thread = threading.Thread(target=resize)
    thread.start()
    try:
        for number in range(20):
            for left, right in ((sender, receiver), (receiver, sender)):
                for piece in PIECES:
                    block = left.encode(piece[number:], effort=Effort.RAW)
                    assert right.decode(block.wire, limit=len(piece)) == piece[number:]
                    left.acknowledge(block)
    finally:
        done.set()
        thread.join()
    assert errors == []


@pytest.mark.parametrize(
    ("capacity", "size"), [(1 << 20, 1 << 17), (1 << 29, 1 << 26), (45 * 10**9, 400 * 10**6)]
)
def test_usual_index(capacity: int, size: int) -> None:
    """Dense while that is cheap, 4.4 MB per GB of both logs when they are large."""
    assert usual_index(capacity) == size
