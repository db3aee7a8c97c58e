"""Starting, killing and backing off, with a clock that is a number."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.supervision import Action, Child


def running(watchdog: float = 3.0) -> Child:
    """A child that became ready at 1.0."""
    child = Child("data", watchdog=watchdog)
    child.want(0.0)
    assert child.due(0.0) is Action.START
    child.started(0.0)
    child.heard("READY=1\nSTATUS=serving", 1.0)
    assert child.ready
    assert child.status == "serving"
    return child


def test_a_silent_child_is_killed_in_time_and_once() -> None:
    child = running()
    child.heard("WATCHDOG=1", 2.0)
    assert child.deadline() == 5.0
    assert child.due(4.9) is None
    assert child.due(5.0) is Action.KILL
    assert child.why_killed == "gave no sign of life for 3 s"
    assert child.due(6.0) is None
    assert child.deadline() is None


def test_a_child_that_never_gets_ready() -> None:
    child = Child("data", watchdog=3.0, startup=10.0)
    child.want(0.0)
    child.started(0.0)
    child.heard("WATCHDOG=1", 5.0)
    assert child.due(9.9) is None
    assert child.due(10.0) is Action.KILL
    assert "not ready" in child.why_killed


def test_back_at_once_then_with_growing_patience() -> None:
    child = running()
    now, delays = 2.0, []
    for _ in range(9):
        delays.append(child.exited(now))
        now += delays[-1]
        assert child.deadline() == now
        assert child.due(now) is Action.START
        child.started(now)
    assert delays == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
    child.heard("READY=1", now)
    assert child.exited(now + 59) == 30
    child.started(now)
    child.heard("READY=1", now)
    assert child.exited(now + 60) == 0, "it has been well for a minute"
    child.started(now)
    assert child.exited(now) == 0.5


def test_an_orderly_stop_and_an_unwilling_child() -> None:
    child = running()
    child.unwant()
    assert child.due(2.0) is Action.TERMINATE
    child.heard("STOPPING=1", 2.1)
    child.heard("WATCHDOG=1", 6.9)
    assert child.due(6.9) is None
    assert child.due(7.0) is Action.KILL
    assert "did not stop" in child.why_killed
    child.exited(7.1)
    assert child.due(1e9) is None
    assert child.deadline() is None


def test_a_stop_that_asks_for_more_time_gets_it_while_it_asks() -> None:
    child = running()
    child.heard("EXTEND_TIMEOUT_USEC=60000000", 1.0)
    child.unwant()
    assert child.due(2.0) is Action.TERMINATE
    for now in (3.0, 7.0, 11.0):
        child.heard("EXTEND_TIMEOUT_USEC=5000000", now)
        assert child.due(now + 4.9) is None
    assert child.due(16.0) is Action.KILL
    child.heard("EXTEND_TIMEOUT_USEC=5000000", 16.1)
    assert child.due(17.0) is None
    assert child.deadline() is None


def test_a_stop_while_it_waits_to_be_started_again() -> None:
    child = running()
    child.exited(2.0)
    child.started(2.0)
    child.exited(2.1)
    child.unwant()
    assert child.due(99.0) is None


@given(st.lists(st.tuples(st.sampled_from(["start", "ready", "word", "exit", "stop"]), st.floats(0, 40))))
def test_whatever_happens_a_stopped_child_ends_and_a_wanted_one_is_attended(
    steps: list[tuple[str, float]],
) -> None:
    child, now = Child("data", watchdog=3.0), 0.0
    child.want(now)
    for step, wait in steps:
        now += wait
        action = child.due(now)
        if action is Action.START:
            child.started(now)
        if action is Action.KILL:
            assert child.running
            child.exited(now)
        if step == "exit" and child.running:
            child.exited(now)
        elif step in ("ready", "word") and child.running:
            child.heard("READY=1" if step == "ready" else "WATCHDOG=1", now)
        elif step == "stop":
            child.unwant()
        if child.wanted:
            assert child.deadline() is not None, "something will be done, sooner or later"
