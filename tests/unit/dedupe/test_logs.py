"""Ranges, offers and what two sides conclude from them."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupe import BadBlock, Cache, Effort, OfferError, ranges
from dedupe.offer import (
    LARGEST_OFFER,
    LARGEST_OFFSET,
    MOST_AHEAD,
    LogState,
    Offer,
    agree,
    pack,
    parse,
)
from tests.unit.dedupe.corpus import NOISE, TEXT, meet, pair

SPACE = 120


@st.composite
def range_lists(draw: st.DrawFn) -> ranges.Ranges:
    cuts = sorted(draw(st.sets(st.integers(0, SPACE), max_size=16)))
    return tuple(zip(cuts[0:-1:2], cuts[1::2], strict=False))


def members(held: ranges.Ranges) -> set[int]:
    return {place for start, end in held for place in range(start, end)}


@given(range_lists(), range_lists(), st.integers(0, SPACE), st.integers(0, SPACE))
def test_ranges_are_sets(left: ranges.Ranges, right: ranges.Ranges, start: int, end: int) -> None:
    assert members(ranges.common(left, right)) == members(left) & members(right)
    assert members(ranges.drop(left, start, max(start, end))) == members(left) - set(range(start, end))
    assert members(ranges.above(left, start)) == {place for place in members(left) if place >= start}
    assert ranges.total(left) == len(members(left))
    top = left[-1][1] if left else 0
    grown = ranges.add(left, top + start, top + start + end)
    assert members(grown) == members(left) | set(range(top + start, top + start + end))
    assert all(a[1] < b[0] for a, b in itertools.pairwise(grown)) or left == ()


def test_add_below_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match="below"):
        ranges.add(((5, 9),), 8, 12)


def test_short_ranges_are_forgotten() -> None:
    held: ranges.Ranges = ((0, 1000),)
    for start in range(2000, 2400, 4):
        held = ranges.add(held, start, start + 2)
        assert held[-1] == (start, start + 2)
    held = ranges.add(held, 3000, 3001)
    assert len(held) == ranges.MOST
    assert (held[0], held[-1]) == ((0, 1000), (3000, 3001))
    assert ranges.drop(held, 500, 501)[:2] == ((0, 500), (501, 1000))
    assert list(held) == sorted(held)


@pytest.mark.parametrize("holes", [70, 300])
def test_many_refused_blocks_do_not_cost_the_log(holes: int) -> None:
    left, right = pair(1 << 22)
    for _ in range(9):
        carry(left, right, NOISE)
    kept = [NOISE[at : at + 300] + bytes([at % 251]) * 40 for at in range(holes)]
    for number, raw in enumerate(kept):
        lost = left.encode(TEXT[number * 50 :][:400], effort=Effort.RAW, literal=True)
        left.reject(lost)
        carry(left, right, raw[::-1])
    refused = 0
    for raw in (*kept, *kept):
        block = left.encode(raw[::-1], effort=Effort.RAW)
        try:
            assert right.decode(block.wire, limit=1 << 20) == raw[::-1]
        except BadBlock:
            left.reject(block)
            refused += 1
    assert refused == 0
    assert carry(left, right, NOISE) == len(NOISE)


@st.composite
def states(draw: st.DrawFn, epoch: st.SearchStrategy[int]) -> LogState:
    held = draw(range_lists())
    head = draw(st.integers(held[-1][1] if held else 0, SPACE + 9))
    size = st.integers(1, 1 << 40)
    return LogState(draw(epoch), head, draw(size), draw(size), held)


epochs = st.integers(1, 3)


@given(states(epochs), states(st.integers(0, 3)))
def test_offer_round_trip(writes: LogState, reads: LogState) -> None:
    offer = Offer(writes, reads)
    packed = pack(offer)
    assert parse(packed) == offer
    assert len(packed) <= LARGEST_OFFER
    for cut in range(len(packed)):
        with pytest.raises(OfferError):
            parse(packed[:cut])
    with pytest.raises(OfferError):
        parse(packed + b"\0")


@given(st.binary(max_size=200))
def test_garbage_is_an_offer_error_or_an_offer(garbage: bytes) -> None:
    for data in (garbage, b"\1" + garbage):
        try:
            offer = parse(data)
        except OfferError:
            continue
        assert parse(pack(offer)) == offer


@given(states(epochs), states(epochs))
def test_agreement(writer: LogState, reader: LogState) -> None:
    found = agree(writer, reader)
    assert found.epoch == writer.epoch
    assert found.head >= writer.head
    assert members(found.valid) <= members(writer.valid) & members(reader.valid)
    assert found.span == min(writer.span, reader.span)
    if writer.epoch != reader.epoch:
        assert (found.head, found.valid) == (writer.head, ())
    else:
        assert found.head >= reader.head
        if reader.head <= writer.head:
            assert members(found.valid) == members(writer.valid) & members(reader.valid)


def test_a_head_that_never_was_is_not_believed() -> None:
    """One flipped bit would use up the offsets of a log for good, on both sides."""
    held = ((0, 5),)
    writer = LogState(1, 7, 100, 100, held)
    near, far = (LogState(1, 7 + ahead, 100, 100, held) for ahead in (MOST_AHEAD, MOST_AHEAD + 1))
    assert agree(writer, near).head == near.head
    assert (agree(writer, far).head, agree(writer, far).valid) == (7, ())


@pytest.mark.parametrize("writes", [False, True])
def test_a_peer_that_was_mistaken_is_believed_again(writes: bool) -> None:
    left, right = pair()
    carry(left, right)
    carry(right, left)
    offer = parse(right.offer())
    changed = replace(offer.writes if writes else offer.reads, head=LARGEST_OFFSET, valid=())
    left.accept(pack(replace(offer, **{"writes" if writes else "reads": changed})))
    meet(left, right)
    for sender, receiver in ((left, right), (right, left)):
        carry(sender, receiver)
        assert carry(sender, receiver) == len(TEXT[:9000])
        assert sender._mine.head < 1 << 20


def test_the_log_of_a_peer_that_starts_anew_is_referred_to() -> None:
    left, right = pair(capacity=1 << 14, gap=1 << 14)
    for _ in range(9):  # the ring wraps
        carry(right, left, NOISE[:9000])
        carry(right, left, TEXT[:9000])
    anew = Cache(capacity=1 << 14, gap=1 << 14)
    meet(left, anew)
    carry(anew, left)
    assert carry(left, anew) == len(TEXT[:9000])


def carry(sender: Cache, receiver: Cache, raw: bytes = TEXT[:9000]) -> int:
    """Bytes of it that need not be sent."""
    block = sender.encode(raw, effort=Effort.RAW)
    assert receiver.decode(block.wire, limit=len(raw)) == raw
    sender.acknowledge(block)
    return block.copied


def test_no_offset_lies_beyond_the_largest() -> None:
    left, right = pair()
    left._mine.head = right._theirs.head = LARGEST_OFFSET - len(NOISE[:5000]) + 1
    left._encoder.begin()
    right._decoder.begin()
    assert left.encode(NOISE[:5000], effort=Effort.RAW).logged == 0
    left._mine.leased += 5000
    block = left.encode(NOISE[:5000], effort=Effort.RAW)
    with pytest.raises(BadBlock, match="offset"):
        right.decode(block.wire, limit=1 << 20)
