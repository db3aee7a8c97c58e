"""Ranges, offers and what two sides conclude from them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupe import OfferError, ranges
from dedupe.offer import LARGEST_OFFER, LogState, Offer, agree, pack, parse

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


def test_old_ranges_are_forgotten() -> None:
    held: ranges.Ranges = ()
    for start in range(0, 400, 4):
        held = ranges.add(held, start, start + 2)
    assert len(held) == ranges.MOST
    assert held[-1] == (396, 398)


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
