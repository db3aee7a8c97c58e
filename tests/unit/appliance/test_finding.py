"""The rate of an unknown link is found from its queue: a fluid model of a bottleneck stands for the network."""

from dataclasses import dataclass, field

import pytest

from appliance.control.finding import Finder

STEP_S = 0.1
RTT_S = 0.08


@dataclass
class Bottleneck:
    """rate in bytes/s; buffer in seconds. What is offered beyond both is lost."""

    rate: float
    buffer: float
    lag: float = 0.2  # until a sender hears of the queue
    queue: float = 0.0  # bytes
    base: float = 0.0  # seconds by which the way is longer than it once was
    _heard: list[float] = field(default_factory=list)

    def run(
        self, finder: Finder, offered: float, seconds: float, began: float = 0.0, others: float = 0.0
    ) -> tuple[float, float]:
        """Worst queue in seconds, and the part of the rate that was used, in the second half.

        `others` leave for elsewhere by the same interface, and are counted until there is a limit.
        """
        steps = round(seconds / STEP_S)
        delays, used = [], 0.0
        for step in range(steps):
            sent = min(offered, finder.limit or offered)
            left = min(self.rate * STEP_S, self.queue + sent * STEP_S)
            self.queue = min(self.queue + sent * STEP_S - left, self.rate * self.buffer)
            self._heard.append(self.base + self.queue / self.rate)
            behind = self._heard[max(0, len(self._heard) - 1 - round(self.lag / STEP_S))]
            unlimited = not finder.limit
            finder.step(began + step * STEP_S, behind, sent + others * unlimited, RTT_S)
            if unlimited and finder.limit:
                finder.alone()
            if step >= steps // 2:
                delays.append(self.queue / self.rate)
                used += left
        return max(delays), used / (self.rate * STEP_S * (steps - steps // 2))


@pytest.mark.parametrize("buffer", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("rate", [60_000, 1_250_000, 12_500_000])
@pytest.mark.parametrize("offered", [1.1, 2, 10])
def test_the_queue_becomes_short_and_the_link_stays_used(buffer: float, rate: int, offered: float) -> None:
    worst, used = Bottleneck(rate, buffer).run(Finder(), offered * rate, 60)
    assert worst < 0.08
    assert used > 0.8


def test_one_branch_of_many_is_found_though_all_were_counted() -> None:
    finder = Finder()
    worst, used = Bottleneck(60_000, 0.5).run(finder, 120_000, 60, others=100 * 60_000)
    assert worst < 0.08
    assert used > 0.8


def test_nothing_is_held_while_there_is_no_queue() -> None:
    finder = Finder()
    worst, used = Bottleneck(1_250_000, 0.5).run(finder, 1_000_000, 30)
    assert (worst, finder.limit) == (0.0, 0)
    assert used == pytest.approx(0.8)


def test_one_late_answer_is_no_queue() -> None:
    finder = Finder()
    for step, delay in enumerate((0.0, 0.2, 0.0, 0.0, 0.3, 0.0)):
        assert finder.step(step * STEP_S, delay, 1e6, RTT_S) == 0


def test_a_link_that_became_faster_is_used_again() -> None:
    link, finder = Bottleneck(500_000, 0.5), Finder()
    link.run(finder, 5_000_000, 30)
    link.rate = 1_000_000
    link.run(finder, 5_000_000, 120, began=30)
    _, used = link.run(finder, 5_000_000, 30, began=150)
    assert used > 0.8


def test_a_link_that_became_slower_is_found_again() -> None:
    link, finder = Bottleneck(1_000_000, 0.5), Finder()
    link.run(finder, 5_000_000, 30)
    link.rate = 300_000
    worst, used = link.run(finder, 5_000_000, 30, began=30)
    assert worst < 0.08
    assert used > 0.8


def test_a_burst_that_is_over_when_its_queue_is_heard_of_limits_to_the_burst() -> None:
    finder = Finder()
    for step, (depth, sent) in enumerate([(0.0, 1e6), *([(0.1, 1e6)] * 3), *([(0.2, 5_000.0)] * 3)]):
        limit = finder.step(step * STEP_S, depth, sent, RTT_S)
    assert limit >= 0.7e6


def test_a_busy_moment_does_not_limit_a_link_to_the_little_that_it_was_given() -> None:
    """The processor was late for four seconds, again and again, while next to nothing was sent."""
    link, finder = Bottleneck(2_500_000, 0.5), Finder()
    link.run(finder, 1_500_000, 20)
    began = 20.0
    for _ in range(10):
        for step in range(40):
            finder.step(began + step * STEP_S, 0.05, 30_000.0, RTT_S)
        link.run(finder, 30_000, 3, began=began + 4)
        began += 7
    link.run(finder, 2_000_000, 10, began=began)
    _, used = link.run(finder, 2_000_000, 10, began=began + 10)
    assert used > 0.3


def test_a_queue_that_stands_is_believed_in_the_end() -> None:
    finder = Finder()
    Bottleneck(2_500_000, 0.5).run(finder, 1_500_000, 20)
    narrow = Bottleneck(30_000, 0.5)
    narrow.run(finder, 40_000, 40, began=20)
    worst, used = narrow.run(finder, 40_000, 30, began=60)
    assert worst < 0.08
    assert used > 0.8


def test_a_limit_that_does_not_help_is_lifted() -> None:
    finder = Finder()
    limits = [finder.step(step * STEP_S, 0.2, finder.limit or 500_000.0) for step in range(200)]
    lifted = limits.index(0, limits.index(max(limits)))
    assert min(limit for limit in limits[:lifted] if limit) < 0.1 * 500_000
    assert limits[lifted : lifted + 90] == [0] * 90, "and is not tried again for a while"


def test_a_way_that_became_longer_is_no_queue() -> None:
    finder = Finder()
    link = Bottleneck(6_000_000, 0.5)
    link.run(finder, 5_000_000, 20)
    limits = [
        finder.step(20 + step * STEP_S, 0.04, float(finder.limit or 5_000_000), RTT_S) for step in range(200)
    ]
    assert limits[60:] == [0] * 140, "it is known after six seconds"


def test_a_queue_on_a_way_that_became_longer_is_still_one() -> None:
    finder = Finder()
    for step in range(300):
        finder.step(step * STEP_S, 0.04 * (step > 100), float(finder.limit or 5_000_000), RTT_S)
    worst, used = Bottleneck(1_000_000, 0.5, base=0.04).run(finder, 5_000_000, 60, began=30)
    assert worst < 0.08
    assert used > 0.8
