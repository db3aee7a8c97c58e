"""The cache's interface: sessions, room, acknowledgements, rejections, windows, both directions."""

import gc
import random
import threading

import pytest

from dedupe import BadBlock, Cache, DecodeWindow, Effort, EncodeWindow, OfferError
from dedupe.literals import EARNED, Coding
from dedupe.window import MOST_WINDOWS, decoding
from tests.unit.dedupe.corpus import NOISE, RUNS, TABLE, TEXT, meet, pair

LIMIT = 1 << 20


def coding(wire: bytes) -> Coding:
    return Coding(wire[0] & 7)


def test_nothing_before_a_session() -> None:
    cache = Cache(capacity=1 << 16)
    with pytest.raises(RuntimeError, match="accept"):
        cache.encode(b"x", effort=Effort.RAW)
    with pytest.raises(RuntimeError, match="accept"):
        cache.decode(b"x", limit=10)


@pytest.mark.parametrize("arguments", [{"capacity": 0}, {"capacity": 1 << 50}, {"capacity": 8192, "gap": 0}])
def test_sizes_out_of_range(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Cache(capacity=arguments["capacity"], gap=arguments.get("gap"))


def test_a_bad_offer_changes_nothing() -> None:
    left, right = pair()
    content = NOISE[:5000]
    right.decode(left.encode(content, effort=Effort.RAW).wire, limit=LIMIT)
    with pytest.raises(OfferError):
        left.accept(b"\1 nonsense")
    assert left.encode(content, effort=Effort.RAW).copied == len(content)


def test_own_offer_is_refused() -> None:
    cache = Cache(capacity=1 << 16)
    own = Cache.offer(cache)
    other = Cache(capacity=1 << 16)
    other.accept(own)
    with pytest.raises(OfferError, match="own log"):
        cache.accept(own)


@pytest.mark.parametrize("raw", [b"", b"x", b"xy" * 40, bytes(70_000), TABLE, RUNS])
@pytest.mark.parametrize("effort", Effort)
def test_round_trip_twice(raw: bytes, effort: Effort) -> None:
    left, right = pair()
    for kind in (bytes, bytearray, memoryview):
        block = left.encode(kind(raw), effort=effort)
        assert right.decode(kind(block.wire), limit=LIMIT) == raw
    if len(raw) >= 1000:
        assert len(block.wire) < 40


def test_too_long_a_block() -> None:
    left, _ = pair()
    with pytest.raises(ValueError, match="at most"):
        left.encode(bytes((1 << 22) + 1), effort=Effort.RAW)


def test_store_false_leaves_no_trace() -> None:
    left, right = pair()
    block = left.encode(NOISE, effort=Effort.RAW, store=False)
    assert right.decode(block.wire, limit=LIMIT) == NOISE
    assert block.logged == 0
    again = left.encode(NOISE, effort=Effort.RAW)
    assert again.copied == 0
    assert left.stats().written_log == len(NOISE)


def test_room_shrinks_and_comes_back() -> None:
    left, right = pair(capacity=1 << 16, gap=10_000)
    assert left.room() == 10_000
    first = left.encode(NOISE[:6000], effort=Effort.RAW)
    assert left.room() == 4000
    over = left.encode(NOISE[10_000:15_000], effort=Effort.RAW)
    assert over.logged == 0
    left.acknowledge(first)
    assert left.room() == 10_000
    second = left.encode(NOISE[20_000:28_000], effort=Effort.RAW)
    assert left.room() == 2000
    left.reject(second)
    assert left.room() == 10_000
    for block, raw in ((first, NOISE[:6000]), (over, NOISE[10_000:15_000])):
        assert right.decode(block.wire, limit=LIMIT) == raw


def test_rejected_range_is_a_hole() -> None:
    left, right = pair()
    good = left.encode(NOISE[:4000], effort=Effort.RAW)
    right.decode(good.wire, limit=LIMIT)
    lost = left.encode(NOISE[5000:9000], effort=Effort.RAW)
    bad = bytearray(lost.wire)
    bad[-1] ^= 1
    with pytest.raises(BadBlock):
        right.decode(bad, limit=LIMIT)
    left.reject(lost)
    again = left.encode(NOISE[5000:9000], effort=Effort.RAW)
    assert again.copied == 0
    assert right.decode(again.wire, limit=LIMIT) == NOISE[5000:9000]
    both = left.encode(NOISE[:4000] + NOISE[5000:9000], effort=Effort.RAW)
    assert both.copied == 8000
    assert right.decode(both.wire, limit=LIMIT) == NOISE[:4000] + NOISE[5000:9000]
    assert left.stats().rejected_blocks == right.stats().bad_blocks == 1


def test_what_the_peer_sent_is_referenced() -> None:
    left, right = pair()
    right.decode(left.encode(NOISE, effort=Effort.RAW).wire, limit=LIMIT)
    back = right.encode(NOISE, effort=Effort.RAW)
    assert len(back.wire) < 40
    assert left.decode(back.wire, limit=LIMIT) == NOISE


def test_memory_outlives_a_session() -> None:
    left, right = pair()
    block = left.encode(NOISE[:50_000], effort=Effort.RAW)
    right.decode(block.wire, limit=LIMIT)
    lost = left.encode(NOISE[60_000:90_000], effort=Effort.RAW)
    meet(left, right)
    left.acknowledge(lost)
    left.reject(lost)
    for raw, copied in ((NOISE[:50_000], 50_000), (NOISE[60_000:90_000], 0)):
        block = left.encode(raw, effort=Effort.RAW)
        assert block.copied == copied
        assert right.decode(block.wire, limit=LIMIT) == raw


@pytest.mark.parametrize("writer_restarts", [False, True])
def test_a_restart_forgets_and_goes_on(writer_restarts: bool) -> None:
    left, right = pair()
    right.decode(left.encode(NOISE[:50_000], effort=Effort.RAW).wire, limit=LIMIT)
    if writer_restarts:
        left = Cache(capacity=1 << 20)
    else:
        right = Cache(capacity=1 << 20)
    meet(left, right)
    for copied in (0, 50_000):
        block = left.encode(NOISE[:50_000], effort=Effort.RAW)
        assert block.copied == copied
        assert right.decode(block.wire, limit=LIMIT) == NOISE[:50_000]


@pytest.mark.parametrize(("left_size", "right_size"), [(1 << 14, 1 << 20), (1 << 20, 1 << 14)])
def test_different_capacities(left_size: int, right_size: int) -> None:
    left, right = Cache(capacity=left_size), Cache(capacity=right_size)
    meet(left, right)
    for _ in range(3):
        for start in range(0, 100_000, 5000):
            block = left.encode(NOISE[start : start + 5000], effort=Effort.RAW)
            assert right.decode(block.wire, limit=LIMIT) == NOISE[start : start + 5000]
            left.acknowledge(block)
            assert block.copied == 0


def test_streams_begin_when_earned_and_begin_anew_after_a_reject() -> None:
    left, right = pair()
    out, into = EncodeWindow(), DecodeWindow()
    seen = []
    for start in range(0, 100_000, 20_000):
        block = left.encode(TEXT[start : start + 20_000], effort=Effort.DENSE, window=out, store=False)
        assert right.decode(block.wire, window=into, limit=LIMIT) == TEXT[start : start + 20_000]
        seen.append(coding(block.wire))
    assert seen == [Coding.FRAME] * 3 + [Coding.START, Coding.STREAM]
    assert EARNED <= 4 * 20_000
    lost = left.encode(TEXT[:9000], effort=Effort.DENSE, window=out, store=False)
    late = left.encode(TEXT[9000:9500], effort=Effort.DENSE, window=out, store=False)
    with pytest.raises(BadBlock):
        right.decode(lost.wire[:-1], window=into, limit=LIMIT)
    with pytest.raises(BadBlock, match="window is lost"):
        right.decode(late.wire, window=into, limit=LIMIT)
    left.reject(lost)
    left.reject(late)
    for start, end in ((0, 9000), (9000, 9500)):
        block = left.encode(TEXT[start:end], effort=Effort.DENSE, window=out, literal=True, store=False)
        assert right.decode(block.wire, window=into, limit=LIMIT) == TEXT[start:end]
    assert coding(block.wire) == Coding.STREAM


def test_many_flows_share_a_bounded_number_of_streams() -> None:
    left, right = pair(4 << 20)
    flows = [(EncodeWindow(), DecodeWindow()) for _ in range(MOST_WINDOWS + 20)]
    noise = random.Random(5)
    for _ in range(3):
        for out, into in flows:
            at = noise.randrange(len(TEXT) - EARNED)
            raw = TEXT[at : at + EARNED]
            block = left.encode(raw, effort=Effort.DENSE, window=out, store=False, literal=True)
            assert right.decode(block.wire, window=into, limit=LIMIT) == raw
    assert sum(out.stream is not None for out, _ in flows) == MOST_WINDOWS


def test_a_receiver_short_of_memory_keeps_few_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends to it finds out, and has fewer; every byte arrives."""
    gc.collect()  # what earlier tests have left would be given back in the middle of this one
    before = decoding.taken
    monkeypatch.setattr(decoding, "most", before + 8)
    sessions = [(pair(), [(EncodeWindow(), DecodeWindow()) for _ in range(12)]) for _ in range(3)]
    refused = []
    for turn in range(30):
        refused.append(0)
        for (left, right), flows in sessions:
            for number, (out, into) in enumerate(flows):
                raw = TEXT[number * 500 + turn * 7 :][:9000]
                block = left.encode(raw, effort=Effort.DEFAULT, window=out, store=False)
                try:
                    assert right.decode(block.wire, window=into, limit=LIMIT) == raw
                except BadBlock:
                    left.reject(block)
                    refused[-1] += 1
            assert decoding.taken - before <= 8 + len(sessions)
    assert sum(refused) > 0
    assert refused[-5:] == [0] * 5
    assert any(out.stream for _, flows in sessions for out, _ in flows)
    del sessions, flows, left, right, out, into
    gc.collect()
    assert decoding.taken == before


def test_streams_of_ended_flows_are_used_again() -> None:
    left, right = pair(4 << 20)
    for _ in range(3 * MOST_WINDOWS):
        out, into = EncodeWindow(), DecodeWindow()
        block = left.encode(TEXT[:EARNED], effort=Effort.DENSE, window=out, store=False, literal=True)
        assert coding(block.wire) == Coding.START
        assert right.decode(block.wire, window=into, limit=LIMIT) == TEXT[:EARNED]


def test_small_changes_in_small_messages_follow_the_hint() -> None:
    left, right = pair()
    out, into = EncodeWindow(), DecodeWindow()
    messages = [NOISE[start : start + 40] for start in range(0, 4000, 40)]
    big = b"".join(messages)
    right.decode(left.encode(big, effort=Effort.RAW, window=out).wire, window=into, limit=LIMIT)
    first = left.encode(big[:200], effort=Effort.RAW, window=out)
    assert right.decode(first.wire, window=into, limit=LIMIT) == big[:200]
    for message in messages[5:]:
        block = left.encode(message, effort=Effort.RAW, window=out)
        assert block.copied == len(message)
        assert right.decode(block.wire, window=into, limit=LIMIT) == message


def test_short_matches_are_logged_again_and_long_ones_are_not() -> None:
    left, right = pair()
    right.decode(left.encode(NOISE, effort=Effort.RAW).wire, limit=LIMIT)
    mixed = NOISE[1000:3000] + TEXT[:500] + NOISE[40_000:80_000] + TEXT[500:1000]
    block = left.encode(mixed, effort=Effort.RAW)
    assert right.decode(block.wire, limit=LIMIT) == mixed
    assert block.copied == 42_000
    assert block.logged == 3000


def test_both_directions_at_once_on_small_rings() -> None:
    """Two threads to a cache, references into both logs, rings that wrap all the time: bytes stay right."""
    left, right = pair(capacity=1 << 16, gap=1 << 15)
    problems: list[BaseException] = []
    turns = threading.Barrier(2)
    copied = [0, 0]

    def run(way: int, sender: Cache, receiver: Cache) -> None:
        choice = random.Random(way)
        out, into = EncodeWindow(), DecodeWindow()
        try:
            turns.wait(10)
            for _ in range(1500):
                at = choice.randrange(len(NOISE) - 9000)
                raw = NOISE[at : at + choice.randrange(9000)]
                block = sender.encode(raw, effort=Effort.RAW, window=out)
                try:
                    got = receiver.decode(block.wire, window=into, limit=LIMIT)
                except BadBlock:  # the other direction has overtaken what was named
                    sender.reject(block)
                    block = sender.encode(raw, effort=Effort.RAW, window=out, literal=True)
                    got = receiver.decode(block.wire, window=into, limit=LIMIT)
                if got != raw:
                    raise AssertionError("wrong bytes")
                sender.acknowledge(block)
                copied[way] += block.copied
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            problems.append(error)

    threads = [
        threading.Thread(target=run, args=(0, left, right)),
        threading.Thread(target=run, args=(1, right, left)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert min(copied) > 1_000_000
    assert left.stats().bad_blocks + right.stats().bad_blocks < 150


@pytest.mark.parametrize("backwards", [False, True])
def test_references_stay_within_the_span(backwards: bool) -> None:
    """The ring still holds what is older, but a block on its way may lose it."""
    left, right = pair(capacity=20_000, gap=60_000)
    for start in range(0, 40_000, 4000):
        block = left.encode(NOISE[start : start + 4000], effort=Effort.RAW)
        assert right.decode(block.wire, limit=LIMIT) == NOISE[start : start + 4000]
        left.acknowledge(block)
    sender, receiver = (right, left) if backwards else (left, right)
    for start, copied in ((12_000, 0), (24_000, 4000)):
        raw = NOISE[start : start + 4000]
        block = sender.encode(raw, effort=Effort.RAW, store=False)
        assert block.copied == copied
        assert receiver.decode(block.wire, limit=LIMIT) == raw
