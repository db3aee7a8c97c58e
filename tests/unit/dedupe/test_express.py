"""Express messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupe import BadBlock, pack, unpack
from tests.unit.dedupe.corpus import TEXT, contents


@given(contents(3000))
def test_round_trip(message: bytes) -> None:
    packed = pack(message)
    assert unpack(packed, len(message)) == message
    assert len(packed) <= len(message) + 1
    if message:
        with pytest.raises(BadBlock):
            unpack(packed, len(message) - 1)


def test_text_shrinks() -> None:
    assert len(pack(TEXT[:2000])) < 1200


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_garbage(garbage: bytes, limit: int) -> None:
    try:
        assert len(unpack(garbage, limit)) <= limit
    except BadBlock:
        return
    assert garbage[0] in (0, 1, 2)


def test_a_bomb_stays_small() -> None:
    packed = pack(bytes(50 << 20))
    assert len(packed) < 50_000
    with pytest.raises(BadBlock):
        unpack(packed, 1 << 20)
