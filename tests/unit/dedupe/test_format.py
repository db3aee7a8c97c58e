"""The kernel and the oracle understand each other, in both directions."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupe import BadBlock, Cache, DecodeWindow, Effort, EncodeWindow
from dedupe.offer import LogState, Offer, pack, parse
from tests.unit.dedupe import oracle
from tests.unit.dedupe.corpus import contents, pair

EPOCH = 0x1234_5678_9ABC_DEF1
LIMIT = 1 << 20


@given(
    st.lists(st.tuples(contents(), st.sampled_from(Effort), st.booleans(), st.booleans()), max_size=6),
    st.booleans(),
)
def test_oracle_decodes_kernel_output(
    blocks: list[tuple[bytes, Effort, bool, bool]], with_window: bool
) -> None:
    left, right = pair()
    epochs = [parse(cache.offer()).writes.epoch for cache in (left, right)]
    logs = [oracle.PlainLog(epoch) for epoch in epochs]
    windows = EncodeWindow(), EncodeWindow()
    readers = DecodeWindow(), DecodeWindow()
    oracles = oracle.PlainDecodeWindow(), oracle.PlainDecodeWindow()
    for raw, effort, store, backwards in blocks:
        way = int(backwards)
        sender, receiver = (right, left) if backwards else (left, right)
        block = sender.encode(raw, effort=effort, window=windows[way] if with_window else None, store=store)
        assert oracle.decode(block.wire, logs[way], logs[1 - way], oracles[way]) == raw
        assert receiver.decode(block.wire, window=readers[way], limit=LIMIT) == raw
        sender.acknowledge(block)
        assert len(block.wire) <= len(raw) * 1.01 + 40
        assert block.raw_length == block.copied + block.literal == len(raw)


def listening(epoch: int) -> Cache:
    """A cache whose peer says that it writes the log of that epoch."""
    cache = Cache(capacity=1 << 20)
    nothing = LogState(0, 0, 1 << 20, 1 << 17, ())
    cache.accept(pack(Offer(LogState(epoch, 0, 1 << 20, 1 << 17, ()), nothing)))
    return cache


@st.composite
def told(draw: st.DrawFn, log: oracle.PlainLog) -> tuple[bytes, list[oracle.Token]]:
    """Any true way to say some bytes: literals and copies as chance wants them."""
    raw = b""
    tokens: list[oracle.Token] = []
    for _ in range(draw(st.integers(0, 6))):
        logged = draw(st.booleans())
        if len(log.data) > 10 and draw(st.booleans()):
            offset = draw(st.integers(0, len(log.data) - 1))
            length = draw(st.integers(1, len(log.data) - offset))
            if 0 in log.held[offset : offset + length]:
                continue
            raw += log.read(offset, length)
            tokens.append(oracle.Copy(0, offset, length, logged))
        else:
            piece = draw(st.binary(min_size=1, max_size=40)) * draw(st.integers(1, 20))
            raw += piece
            tokens.append(oracle.Literal(len(piece), logged))
    return raw, tokens


@given(st.data())
def test_kernel_decodes_oracle_output(data: st.DataObject) -> None:
    log = oracle.PlainLog(EPOCH)
    cache, window, reader = listening(EPOCH), oracle.PlainEncodeWindow(), DecodeWindow()
    for _ in range(data.draw(st.integers(1, 5))):
        raw, tokens = data.draw(told(log))
        codings = [oracle.RAW, oracle.LZ4, oracle.FRAME, oracle.START]
        if window.stream is not None:
            codings.append(oracle.STREAM)
        base = len(log.data) + data.draw(st.integers(0, 5))
        wire = oracle.encode(raw, tokens, data.draw(st.sampled_from(codings)), base, EPOCH, window)
        assert cache.decode(wire, window=reader, limit=LIMIT) == raw
        at, logged = 0, b""
        for token in tokens:
            logged += raw[at : at + token.length] if token.logged else b""
            at += token.length
        if logged:
            log.write(base, logged)


@pytest.mark.parametrize("coding", [oracle.RAW, oracle.LZ4, oracle.FRAME, oracle.START])
def test_a_reference_to_a_hole_is_refused(coding: int) -> None:
    cache, plain = listening(EPOCH), oracle.PlainEncodeWindow()
    first = b"first " * 100
    cache.decode(oracle.encode(first, [oracle.Literal(600, True)], oracle.RAW, 1000, EPOCH), limit=LIMIT)
    for offset, good in ((1000, True), (999, False), (1001, False), (0, False), (1 << 62, False)):
        raw = first + b"x" * 50
        tokens: list[oracle.Token] = [oracle.Copy(0, offset, 600, False), oracle.Literal(50, False)]
        wire = oracle.encode(raw, tokens, coding, 0, EPOCH, plain)
        if good:
            assert cache.decode(wire, window=DecodeWindow(), limit=LIMIT) == raw
        else:
            with pytest.raises(BadBlock, match="not there"):
                cache.decode(wire, window=DecodeWindow(), limit=LIMIT)


def test_an_offset_is_never_used_twice() -> None:
    cache = listening(EPOCH)
    cache.decode(oracle.encode(b"a" * 100, [oracle.Literal(100, True)], oracle.RAW, 50, EPOCH), limit=LIMIT)
    again = oracle.encode(b"b" * 100, [oracle.Literal(100, True)], oracle.RAW, 149, EPOCH)
    with pytest.raises(BadBlock, match="149"):
        cache.decode(again, limit=LIMIT)
    next_one = oracle.encode(b"b" * 100, [oracle.Literal(100, True)], oracle.RAW, 150, EPOCH)
    assert cache.decode(next_one, limit=LIMIT) == b"b" * 100


def test_another_epoch_does_not_pass() -> None:
    cache = listening(EPOCH)
    wire = oracle.encode(b"a" * 100, [oracle.Literal(100, False)], oracle.RAW, 0, EPOCH + 2)
    with pytest.raises(BadBlock, match="not those that were sent"):
        cache.decode(wire, limit=LIMIT)


def test_warm_block_is_tiny() -> None:
    left, right = pair(4 << 20)
    content = random.Random(1).randbytes(256 * 1024)
    for expected in (len(content) * 1.001, 32):
        block = left.encode(content, effort=Effort.DENSE)
        assert right.decode(block.wire, limit=LIMIT) == content
        assert len(block.wire) <= expected
