"""Contents that look like traffic: a few sources, slices of them, small changes."""

import random

from hypothesis import strategies as st

from dedupe import Cache

_random = random.Random(20)
NOISE = _random.randbytes(120_000)
WORDS = [bytes(_random.choices(b"abcdefghijklmnopqrstuvwxyz", k=_random.randint(2, 9))) for _ in range(300)]
TEXT = b" ".join(_random.choices(WORDS, k=20_000))
RUNS = b"".join(bytes([_random.randrange(4)]) * _random.randint(1, 3000) for _ in range(60))
TABLE = b"".join(i.to_bytes(4, "little") + bytes(8) + b"\xff" * 4 for i in range(6000))
SOURCES = (NOISE, TEXT, RUNS, TABLE)


@st.composite
def pieces(draw: st.DrawFn, longest: int = 8000) -> bytes:
    """A slice of one source."""
    source = draw(st.sampled_from(SOURCES))
    start = draw(st.integers(0, 40)) * 997 % len(source)
    return source[start : start + draw(st.integers(0, longest))]


@st.composite
def contents(draw: st.DrawFn, longest: int = 8000) -> bytes:
    """Up to three slices, perhaps with a byte changed."""
    content = bytearray(b"".join(draw(st.lists(pieces(longest), max_size=3))))
    if content and draw(st.booleans()):
        content[draw(st.integers(0, len(content) - 1))] ^= 0x55
    return bytes(content)


def pair(capacity: int = 1 << 20, gap: int | None = None) -> tuple[Cache, Cache]:
    """Two caches that have just begun a session."""
    left, right = Cache(capacity=capacity, gap=gap), Cache(capacity=capacity, gap=gap)
    meet(left, right)
    return left, right


def meet(left: Cache, right: Cache) -> None:
    """Begin a session."""
    offers = left.offer(), right.offer()
    left.accept(offers[1])
    right.accept(offers[0])
