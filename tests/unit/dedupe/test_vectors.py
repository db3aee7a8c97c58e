"""docs/FORMAT.md's vectors, against the kernel and the oracle."""

import re
from pathlib import Path

import pytest

from dedupe import Cache, DecodeWindow
from dedupe.offer import LogState, Offer, pack
from tests.unit.dedupe import oracle

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "FORMAT.md"


def vectors() -> list[tuple[int, bytes, bytes]]:
    found = re.search(r"^```vectors\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    assert found
    lines = [line.split() for line in found.group(1).splitlines()]
    return [(int(epoch, 16), bytes.fromhex(raw), bytes.fromhex(wire)) for epoch, raw, wire in lines]


def test_there_is_one_of_each_kind() -> None:
    blocks = [oracle.parse(wire) for _, _, wire in vectors()]
    assert {block.coding for block in blocks} == set(range(6))
    window = oracle.PlainDecodeWindow()
    tokens = [token for block in blocks for token in oracle.unpack(block, window)[0]]
    kinds = {(type(token), token.logged) for token in tokens}
    assert kinds == {(kind, logged) for kind in (oracle.Literal, oracle.Copy) for logged in (False, True)}


def test_kernel() -> None:
    epoch = vectors()[0][0]
    cache, window = Cache(capacity=1 << 16), DecodeWindow()
    cache.accept(pack(Offer(LogState(epoch, 0, 1 << 16, 1 << 16, ()), LogState(0, 0, 1 << 16, 1 << 16, ()))))
    for _, raw, wire in vectors():
        assert cache.decode(wire, window=window, limit=1 << 16) == raw


@pytest.mark.parametrize("changed", [False, True])
def test_oracle(changed: bool) -> None:
    log, window = oracle.PlainLog(vectors()[0][0] ^ changed), oracle.PlainDecodeWindow()
    for _, raw, wire in vectors():
        if changed:
            with pytest.raises(oracle.Refused):
                oracle.decode(wire, log, oracle.PlainLog(0), window)
            break
        assert oracle.decode(wire, log, oracle.PlainLog(0), window) == raw
