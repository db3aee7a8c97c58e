"""Whatever arrives, decode says BadBlock or the right bytes, within its limit."""

import tracemalloc

import lz4.block
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dedupe import BadBlock, Block, Cache, DecodeWindow, Effort, EncodeWindow
from dedupe.block import checksum
from dedupe.offer import parse
from tests.unit.dedupe import oracle
from tests.unit.dedupe.corpus import NOISE, TEXT, contents, pair

LIMIT = 1 << 18


NOVEL = TEXT[1000:2000] + b"novel" * 9 + NOISE[500:2500] + TEXT[90_000:90_500]


def prepared(effort: Effort) -> tuple[Cache, Cache, Block]:
    """A pair, and a block of NOVEL on its way from the first to the second."""
    left, right = pair()
    out, into = EncodeWindow(), DecodeWindow()
    for raw in (TEXT[:5000], NOISE[:3000]):
        right.decode(left.encode(raw, effort=effort, window=out).wire, window=into, limit=LIMIT)
    block = left.encode(NOVEL, effort=effort, window=out)
    assert block.copied
    assert block.literal
    return left, right, block


@pytest.mark.parametrize("effort", Effort)
def test_every_single_byte_changed(effort: Effort) -> None:
    left, right, block = prepared(effort)
    harmless = 0
    for place in range(len(block.wire)):
        bad = bytearray(block.wire)
        bad[place] ^= 1 << place % 8
        try:
            assert right.decode(bad, window=DecodeWindow(), limit=LIMIT) == NOVEL
        except BadBlock:
            continue
        harmless += 1  # there are several ways to compress the same bytes
        left, right, block = prepared(effort)
    assert harmless < len(block.wire) // 8
    left.reject(block)
    again = left.encode(NOVEL, effort=effort, literal=True)
    assert not again.copied
    assert right.decode(again.wire, limit=LIMIT) == NOVEL


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_garbage(garbage: bytes, tail: bytes) -> None:
    _, right = pair()
    with pytest.raises(BadBlock):
        right.decode(garbage, window=DecodeWindow(), limit=LIMIT)
    with pytest.raises(BadBlock):
        right.decode(bytes([5]) + garbage + tail, window=DecodeWindow(), limit=LIMIT)


@given(contents(), st.integers(0, 10_000), st.sampled_from(Effort))
def test_cut_short_or_long(raw: bytes, cut: int, effort: Effort) -> None:
    left, right = pair()
    wire = left.encode(raw, effort=effort).wire
    with pytest.raises(BadBlock):
        right.decode(wire[: cut % len(wire)], limit=LIMIT)
    try:
        assert right.decode(wire + b"\0", limit=LIMIT) == raw
    except BadBlock:
        assert right.decode(wire, limit=LIMIT) == raw


@given(contents(), st.integers(0, 30_000))
def test_limit(raw: bytes, limit: int) -> None:
    left, right = pair()
    wire = left.encode(raw, effort=Effort.DENSE).wire
    if limit >= len(raw):
        assert right.decode(wire, limit=limit) == raw
    else:
        with pytest.raises(BadBlock):
            right.decode(wire, limit=limit)


def section(length: int) -> bytes:
    return oracle.write_tokens([oracle.Literal(length, False)])


def bomb(cache: Cache, coding: int, payload: bytes, claim: int) -> bytes:
    """A block that claims `claim` literals and brings more."""
    epoch = parse(cache.offer()).reads.epoch
    tokens = section(claim)
    packed = coding in oracle.PACKED
    head = bytes([coding]) + oracle.varint(claim) + oracle.varint(len(tokens) + (claim if packed else 0))
    return head + (b"" if packed else tokens) + checksum(bytes(claim), head + tokens, epoch) + payload


@pytest.mark.parametrize("coding", [oracle.LZ4, oracle.FRAME, oracle.START])
def test_bombs_stay_small(coding: int) -> None:
    _, right = pair()
    huge = bytes(200 << 20)
    if coding in oracle.PACKED:
        huge = section(100_000) + huge
    if coding == oracle.LZ4:
        payload = lz4.block.compress(huge, store_size=False)
    else:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            1, window_log=20, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=True
        )
        payload = zstandard.ZstdCompressor(compression_params=parameters).compress(huge)
    del huge
    wire = bomb(right, coding, payload, 100_000)
    tracemalloc.start()
    try:
        right.decode(wire, window=DecodeWindow(), limit=LIMIT)
    except BadBlock:
        assert coding == oracle.LZ4
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_window_too_large_is_refused() -> None:
    _, right = pair()
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1, window_log=24, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=False
    )
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    payload = stream.compress(section(1000) + bytes(1000)) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    with pytest.raises(BadBlock, match="payload"):
        right.decode(bomb(right, oracle.START, payload, 1000), window=DecodeWindow(), limit=LIMIT)


@pytest.mark.parametrize("coding", oracle.PACKED)
def test_more_tokens_than_bytes_are_refused_unread(coding: int) -> None:
    _, right = pair()
    head = bytes([coding]) + oracle.varint(100) + oracle.varint(201)
    with pytest.raises(BadBlock, match="lengths"):
        right.decode(head + bytes(40), window=DecodeWindow(), limit=LIMIT)


@pytest.mark.parametrize("coding", oracle.PACKED[::2])
@pytest.mark.parametrize("extra", [-1, 1])
def test_a_wrong_length_of_what_is_packed(coding: int, extra: int) -> None:
    _, right = pair()
    whole = section(100) + bytes(100)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=False
    )
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    payload = stream.compress(whole) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    epoch = parse(right.offer()).reads.epoch
    for claim in (len(whole) + extra, len(whole)):
        head = bytes([coding]) + oracle.varint(100) + oracle.varint(claim)
        wire = head + checksum(bytes(100), head + section(100), epoch) + payload
        if claim == len(whole):
            assert right.decode(wire, window=DecodeWindow(), limit=LIMIT) == bytes(100)
        else:
            with pytest.raises(BadBlock):
                right.decode(wire, window=DecodeWindow(), limit=LIMIT)
