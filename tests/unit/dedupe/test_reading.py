"""The order in which logs are read for an index."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dedupe.reading import Reading

PAIRS = st.lists(st.integers(1, 50), max_size=8).map(
    lambda steps: tuple((sum(steps[:at]), sum(steps[: at + 1])) for at in range(0, len(steps), 2))
)


def test_newest_first_and_in_step() -> None:
    reading = Reading()
    reading.want(0, ((0, 10), (20, 30)))
    reading.want(1, ((100, 115),))
    taken = [reading.next(8) for _ in range(6)]
    assert taken == [(0, 22, 30), (1, 107, 115), (0, 20, 22), (0, 2, 10), (1, 100, 107), (0, 0, 2)]
    assert reading.next(8) is None


def test_what_is_wanted_anew_replaces() -> None:
    reading = Reading()
    reading.want(0, ((0, 10),))
    reading.want(0, ((5, 6),))
    assert [reading.next(8), reading.next(8)] == [(0, 5, 6), None]


@given(PAIRS, PAIRS, st.integers(1, 30))
def test_everything_once(
    left: tuple[tuple[int, int], ...], right: tuple[tuple[int, int], ...], most: int
) -> None:
    reading = Reading()
    reading.want(0, left[:1])
    reading.add(0, left[1:])
    reading.want(1, right)
    seen: list[tuple[int, int]] = []
    while (part := reading.next(most)) is not None:
        log, start, end = part
        assert 0 < end - start <= most
        seen += [(log, at) for at in range(start, end)]
    wanted = [
        (log, at)
        for log, pairs in enumerate((left, right))
        for start, end in pairs
        for at in range(start, end)
    ]
    assert sorted(seen) == wanted
