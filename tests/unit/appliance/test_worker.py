"""The codec's thread is shared: whoever has had the least of it is next, and nobody saves a turn up."""

import threading
from collections.abc import Callable, Iterator

import pytest

from appliance.loop import Loop, Queue, Worker


class Stage:
    """A worker whose clock goes on by what each job says it takes, held back until all jobs are there."""

    def __init__(self) -> None:
        self.now = 0.0
        self.loop = Loop()
        self.worker = Worker(self.loop, "test", clock=lambda: self.now)
        self.ran: list[str] = []

    def job(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.now += seconds
            self.ran.append(name)

        return run

    def put(self, queue: Queue, name: str, seconds: float, times: int = 1) -> None:
        for _ in range(times):
            queue.submit(self.job(name, seconds), lambda _result, _error: None)

    def play(self, fill: Callable[[], list[Queue]]) -> list[str]:
        """What runs, in order, of the jobs that `fill` submits while the thread is kept busy."""
        held = threading.Event()
        self.worker.submit(held.wait, lambda _result, _error: None)
        queues = fill()
        held.set()
        for queue in queues:
            queue.drain()
        ran, self.ran = self.ran, []
        return ran


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    try:
        yield made
    finally:
        made.worker.close()
        made.loop.close()


def test_jobs_of_one_party_keep_their_order(stage: Stage) -> None:
    queue = stage.worker.queue()

    def fill() -> list[Queue]:
        for name in "abcdef":
            stage.put(queue, name, 0.01)
        return [queue]

    assert "".join(stage.play(fill)) == "abcdef"


def test_a_flood_waits_for_a_trickle(stage: Stage) -> None:
    flood, trickle = stage.worker.queue(), stage.worker.queue()

    def fill() -> list[Queue]:
        stage.put(flood, "F", 0.01, 20)
        stage.put(trickle, "t", 0.01, 3)
        return [flood, trickle]

    assert "".join(stage.play(fill))[:6] == "FtFtFt"


def test_dear_jobs_come_less_often(stage: Stage) -> None:
    dear, cheap = stage.worker.queue(), stage.worker.queue()

    def fill() -> list[Queue]:
        stage.put(dear, "D", 0.04, 5)
        stage.put(cheap, "c", 0.01, 16)
        return [dear, cheap]

    ran = "".join(stage.play(fill))[:15]
    assert ran.count("c") == pytest.approx(4 * ran.count("D"), abs=4)


def test_who_was_idle_has_saved_nothing_up(stage: Stage) -> None:
    busy, late = stage.worker.queue(), stage.worker.queue()
    stage.put(busy, "B", 0.01, 50)
    busy.drain()
    stage.ran.clear()

    def fill() -> list[Queue]:
        stage.put(busy, "B", 0.01, 10)
        stage.put(late, "l", 0.01, 10)
        return [busy, late]

    ran = "".join(stage.play(fill))[:10]
    assert 4 <= ran.count("B") <= 6


def test_drain_waits_for_ones_own_jobs_only(stage: Stage) -> None:
    mine, other = stage.worker.queue(), stage.worker.queue()
    gate = threading.Event()
    stage.put(mine, "m", 0.0)
    mine.drain()
    assert stage.ran == ["m"]
    stage.loop.round()  # tells what has run
    other.submit(gate.wait, lambda _result, _error: None)
    mine.drain()  # nothing of its own is under way
    gate.set()
    other.drain()


def test_an_error_is_handed_back(stage: Stage) -> None:
    errors: list[Exception | None] = []

    def fail() -> None:
        raise ValueError("no")

    stage.worker.submit(fail, lambda _result, error: errors.append(error))
    while not errors:
        stage.loop.call_later(0.005, lambda: None)
        stage.loop.round()
    assert isinstance(errors[0], ValueError)
