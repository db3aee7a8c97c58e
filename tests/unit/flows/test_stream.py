"""Streams: pieces in any order become the bytes, once; a peer beyond its rights is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.flows.stream import MOST_PIECES, ReceiveHalf, SendHalf, StreamError

MOST = 16 << 20


@given(st.binary(min_size=1, max_size=200), st.data())
def test_pieces_in_any_order_become_the_bytes(payload: bytes, data: st.DataObject) -> None:
    cuts = sorted({0, len(payload), *data.draw(st.lists(st.integers(0, len(payload)), max_size=10))})
    pieces = list(itertools.pairwise(cuts))
    half = ReceiveHalf(1000, MOST)
    out = b""
    for start, end in data.draw(st.permutations(pieces)):
        out += b"".join(half.accept(start, payload[start:end], end == len(payload)))
        assert out == payload[: half.offset]
    assert out == payload
    assert half.ended


@pytest.mark.parametrize(
    ("pieces", "word"),
    [
        ([(0, b"x" * 101, False)], "credit"),
        ([(0, b"abc", False), (1, b"b", False)], "already"),
        ([(5, b"abc", False), (5, b"abc", False)], "already"),
        ([(0, b"abc", True), (3, b"d", False)], "behind the end"),
        ([(0, b"abc", True), (2, b"", True)], "second end"),
        ([(5, b"abc", False), (0, b"ab", True)], "behind bytes"),
        ([(3, b"abc", False), (0, b"abcd", False)], "overlap"),
    ],
)
def test_a_peer_that_breaks_the_rules_is_refused(pieces: list[tuple[int, bytes, bool]], word: str) -> None:
    half = ReceiveHalf(100, MOST)
    with pytest.raises(StreamError, match=word):
        for offset, piece, fin in pieces:
            half.accept(offset, piece, fin)


def test_scattered_bytes_are_bounded() -> None:
    half = ReceiveHalf(1 << 20, MOST)
    for at in range(MOST_PIECES):
        half.accept(2 * at + 1, b"x", False)
    with pytest.raises(StreamError, match="waiting"):
        half.accept(2 * MOST_PIECES + 1, b"x", False)


def test_credit_follows_the_reader_and_grows_for_a_fast_one() -> None:
    half = ReceiveHalf(1000, MOST)
    assert half.consume(499, now=1.0, rtt=0.1) is None
    assert half.consume(1, now=1.0, rtt=0.1) == 1500  # long since the last grant: the window stays
    assert half.consume(600, now=1.1, rtt=0.1) == 1100 + 2000  # within two round trips: it doubles
    assert half.consume(2000, now=9.0, rtt=0.1) == 3100 + 2000


def test_the_window_has_an_end() -> None:
    half = ReceiveHalf(MOST, MOST)
    for step in range(1, 5):
        half.consume(MOST, now=step * 0.001, rtt=0.1)
    assert half.window == MOST


def test_no_credit_is_given_behind_the_end() -> None:
    half = ReceiveHalf(1000, MOST)
    half.accept(0, b"x" * 900, True)
    assert half.consume(900, now=1.0, rtt=0.1) is None


def test_the_sender_stays_within_its_credit() -> None:
    half = SendHalf(100)
    assert half.take(60) == 0
    assert half.room == 40
    assert not half.grant(50)
    assert half.grant(200)
    assert (half.take(10), half.room) == (60, 130)
