"""The delaying process's decisions: order kept, nothing released early, nothing forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.lab.holding import Holding, Line

FRACTION = st.floats(0, 1, exclude_max=True)


def test_a_packet_is_held_for_the_delay() -> None:
    line = Line(lambda: 0.5)
    line.holding = Holding(delay=0.04)
    assert not line.arrive(7, now=10.0)
    assert line.next_due() == 10.04
    assert line.due(10.039) is None
    assert line.due(10.04) == 7
    assert line.next_due() is None


def test_what_is_due_goes_with_all_before_it() -> None:
    line = Line(lambda: 0.5)
    line.holding = Holding(delay=1.0)
    for packet in range(5):
        line.arrive(packet, now=packet * 0.1)
    assert line.due(1.25) == 2
    assert len(line) == 2


def test_a_shorter_delay_does_not_overtake() -> None:
    line = Line(lambda: 0.5)
    line.holding = Holding(delay=1.0)
    line.arrive(1, now=0.0)
    line.holding = Holding()
    line.arrive(2, now=0.1)
    assert line.due(0.9) is None
    assert line.due(1.0) == 2


def test_reordering_needs_someone_to_overtake() -> None:
    line = Line(lambda: 0.0)
    line.holding = Holding(delay=1.0, reorder=0.5)
    assert not line.arrive(1, now=0.0)
    assert line.arrive(2, now=0.0)
    assert line.due(1.0) == 1


@given(
    arrivals=st.lists(st.tuples(FRACTION, FRACTION), min_size=1, max_size=60),
    delay=st.floats(0, 2),
    jitter=st.floats(0, 1),
)
def test_jitter_keeps_order_and_bounds(
    arrivals: list[tuple[float, float]], delay: float, jitter: float
) -> None:
    draws = iter([draw for _, draw in arrivals])
    line = Line(lambda: next(draws))
    line.holding = Holding(delay, jitter)
    now = 0.0
    arrived: dict[int, float] = {}
    released: list[int] = []
    for packet, (gap, _) in enumerate(arrivals):
        now += gap
        last = line.due(now)
        if last is not None:
            released += range(len(released), last + 1)
        if jitter == 0:
            draws = iter([0.0])
        assert not line.arrive(packet, now)
        arrived[packet] = now
        due = line.next_due()
        assert due is not None
        oldest = len(released)
        assert due >= arrived[oldest] + delay - jitter - 1e-9
        assert due <= now + delay + jitter + 1e-9
    last = line.due(now + delay + jitter + 1e-6)
    assert last == len(arrivals) - 1
    assert len(line) == 0
