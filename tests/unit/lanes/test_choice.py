"""The choice of a path, in a world of simulated paths: what is sent, what comes back, and a clock that tests turn."""

from __future__ import annotations

import heapq
import math
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.lanes.choice import METERED_S, Changed, Choice, Probe, Redial, Use
from appliance.lanes.watch import HOLD_S, LONGEST_HOLD_S, MISSES, MOST_SLACK_S, Health, PathWatch

INTERVAL = 0.1
QUICK = MISSES * INTERVAL + MOST_SLACK_S
HASTY = QUICK - INTERVAL * 0.5  # where the first miss is known before the third probe is due


class World:
    """Paths that answer a probe after their round trip while they are alive, from its sending to its return."""

    def __init__(self, *rtts: float, decides: bool = True) -> None:
        self.now = 1000.0
        self.choice = Choice(INTERVAL, decides=decides)
        self.rtt: dict[str, float] = {}
        self.alive: dict[str, bool] = {}
        self.cut_at: dict[str, float] = {}
        self.log: list[tuple[float, object]] = []
        self.sent: dict[str, list[float]] = {}
        self._order = count()
        self._events: list[tuple[float, int, str, float]] = []
        for number, rtt in enumerate(rtts):
            self.add(f"p{number}", rtt)

    def add(self, name: str, rtt: float, cost: int = 10, *, metered: bool = False) -> None:
        self.rtt[name], self.alive[name], self.cut_at[name] = rtt, True, -math.inf
        self.sent[name] = []
        watch = self.choice.paths[name] = PathWatch(cost, metered=metered)
        watch.sample(rtt)
        self.lanes(name, ready=True)

    def lanes(self, name: str, *, ready: bool) -> None:
        self.choice.lanes(name, self.now, ready=ready)
        self.tick()

    def cut(self, *names: str) -> None:
        for name in names:
            self.alive[name], self.cut_at[name] = False, self.now

    def restore(self, *names: str) -> None:
        for name in names:
            self.alive[name] = True

    def tick(self) -> None:
        for action in self.choice.tick(self.now):
            if isinstance(action, Probe):
                self.sent[action.path].append(self.now)
                if self.alive[action.path]:
                    due = self.now + self.rtt[action.path]
                    heapq.heappush(self._events, (due, next(self._order), action.path, self.now))
            else:
                self.log.append((self.now, action))
                if isinstance(action, Use):
                    assert self.choice.paths[action.path].ready

    def run(self, seconds: float) -> None:
        """Turns the clock on."""
        end = self.now + seconds
        while True:
            due = min(self.choice.due, end, self._events[0][0] if self._events else math.inf)
            self.now = max(self.now, due)
            if self.now >= end:
                self.now = end
                return
            self._arrive()
            self.tick()

    def stall(self, seconds: float) -> None:
        """Our own loop stands still; answers arrive meanwhile and are read afterwards."""
        self.now += seconds
        self._arrive()
        self.tick()

    def _arrive(self) -> None:
        while self._events and self._events[0][0] <= self.now:
            at, _, name, sent = heapq.heappop(self._events)
            if self.alive[name] and sent > self.cut_at[name]:
                self.choice.hear(name, at)
                self.choice.paths[name].sample(at - sent)

    def happened(self, kind: type) -> list[tuple[float, object]]:
        return [(at, action) for at, action in self.log if isinstance(action, kind)]

    def health(self, name: str) -> Health:
        return self.choice.paths[name].health


def test_the_first_path_that_is_ready_is_used_and_a_cheaper_one_is_preferred() -> None:
    world = World()
    world.add("dear", 0.05, cost=20)
    assert world.choice.used == "dear"
    world.add("cheap", 0.05, cost=10)
    assert world.choice.used == "cheap"
    world.run(10)
    assert len(world.happened(Use)) == 2


@pytest.mark.parametrize("rtt", [0.001, 0.02, 0.08, 0.3, 0.6])
@pytest.mark.parametrize("offset", [0.0, 0.013, 0.05, 0.099])
def test_a_path_that_falls_silent_is_left_in_time(rtt: float, offset: float) -> None:
    world = World(rtt, rtt)
    world.run(5 + offset)
    before = world.choice.used
    world.cut(before)
    world.run((HASTY if rtt < INTERVAL else QUICK) + rtt)
    assert world.choice.used != before
    assert world.health(before) is Health.DOWN
    assert [action.path for _, action in world.happened(Redial) if isinstance(action, Redial)] == [before]


def test_a_standby_that_has_died_unnoticed_is_not_taken() -> None:
    world = World(0.05, 0.05, 0.05)
    world.run(5)
    assert world.choice.used == "p0"
    world.cut("p0", "p1")
    world.run(QUICK + 0.05)
    assert world.choice.used == "p2"


def test_when_everything_is_dead_the_first_to_answer_carries_on() -> None:
    world = World(0.05, 0.05)
    world.run(5)
    world.cut("p0", "p1")
    world.run(30)
    assert [world.health(name) for name in ("p0", "p1")] == [Health.DOWN, Health.DOWN]
    assert world.choice.used == "p0"
    world.restore("p1")
    world.run(2)
    assert world.choice.used == "p1"
    assert world.health("p1") is Health.HELD


def test_a_single_path_is_kept_whatever_happens() -> None:
    world = World(0.05)
    world.run(5)
    world.cut("p0")
    world.run(10)
    world.restore("p0")
    world.run(2)
    assert world.health("p0") is Health.HELD
    assert len(world.happened(Use)) == 1


@pytest.mark.parametrize("seconds", [0.15, 0.5, 3.0, 100.0])
def test_a_box_that_was_late_itself_accuses_nobody(seconds: float) -> None:
    world = World(0.05, 0.05)
    world.run(5)
    for _ in range(20):
        world.stall(seconds)
        world.run(0.3)
    assert world.choice.used == "p0"
    assert all(world.health(name) is Health.UP for name in ("p0", "p1"))


def test_the_preferred_path_is_taken_again_only_after_it_has_held() -> None:
    world = World(0.05)
    world.add("backup", 0.05, cost=20)
    world.run(100)
    world.cut("p0")
    world.run(5)
    assert world.choice.used == "backup"
    world.restore("p0")
    back = world.now
    world.run(HOLD_S - 0.1)
    assert world.choice.used == "backup"
    world.run(2)
    assert world.choice.used == "p0"
    assert world.happened(Use)[-1][0] >= back + HOLD_S


def test_a_path_that_flaps_is_held_longer_each_time_and_forgiven_in_the_end() -> None:
    world = World(0.05)
    world.add("backup", 0.05, cost=20)
    world.run(100)
    held = []
    for _ in range(6):
        world.cut("p0")
        world.run(3)
        world.restore("p0")
        back = world.now
        while world.choice.used != "p0":
            world.run(0.5)
        held.append(world.now - back)
    for before, after in pairwise(held):
        assert after > 1.5 * before or after >= LONGEST_HOLD_S
    assert held[-1] <= LONGEST_HOLD_S + 3
    world.run(100)
    world.cut("p0")
    world.run(3)
    world.restore("p0")
    world.run(HOLD_S + 2)
    assert world.choice.used == "p0"


def test_a_metered_path_is_rarely_asked_until_it_is_needed() -> None:
    world = World(0.05)
    world.add("lte", 0.1, cost=50, metered=True)
    world.run(600)
    assert len(world.sent["lte"]) <= 600 / METERED_S + 1
    world.cut("p0")
    world.run(QUICK + 0.1)
    assert world.choice.used == "lte"


def misses_before_hedging(world: World, path: str) -> set[int]:
    seen = set()
    while not world.choice.hedge and world.health(path) is not Health.DOWN:
        seen.add(world.choice.paths[path].misses(world.now))
        world.run(0.01)
    return seen


def test_a_second_path_is_used_beside_the_first_as_soon_as_that_misses_an_answer() -> None:
    world = World(0.05, 0.05)
    world.run(5)
    assert not world.choice.hedge
    world.cut("p0")
    assert misses_before_hedging(world, "p0") == {0}
    assert (world.choice.hedge, world.choice.used) == ("p1", "p0")
    world.restore("p0")
    world.choice.hear("p0", world.now)
    world.tick()
    assert not world.choice.hedge


def test_a_path_whose_bytes_cost_money_is_used_beside_another_after_a_second_miss() -> None:
    world = World(0.05)
    world.add("lte", 0.05, cost=50, metered=True)
    world.run(5)
    world.cut("p0")
    assert misses_before_hedging(world, "p0") == {0, 1}
    assert (world.choice.hedge, world.choice.used) == ("lte", "p0")


def test_the_dialled_box_chooses_no_second_path() -> None:
    world = World(0.05, 0.05, decides=False)
    world.choice.using("p0")
    world.tick()
    world.cut("p0")
    while world.health("p0") is not Health.DOWN:
        world.run(0.01)
        assert not world.choice.hedge


def test_a_lost_lane_may_come_back_before_the_path_is_left() -> None:
    world = World(0.05, 0.05)
    world.run(5)
    world.lanes("p0", ready=False)
    world.run(0.3)
    world.lanes("p0", ready=True)
    world.run(5)
    assert world.choice.used == "p0"
    assert world.health("p0") is Health.UP
    world.lanes("p0", ready=False)
    world.run(1)
    assert world.choice.used == "p1"
    assert world.health("p0") is Health.DOWN


def test_traffic_keeps_a_path_alive_though_its_probes_are_late() -> None:
    """A full queue delays the answers by more than three probes; what it lets through is heard."""
    world = World(0.05, 0.05)
    world.run(5)
    world.rtt["p0"] = 1.0
    for _ in range(100):
        world.run(0.05)
        world.choice.hear("p0", world.now)
    assert world.choice.used == "p0"
    assert world.health("p0") is Health.UP


def test_the_dialled_box_asks_only_when_it_hears_nothing() -> None:
    world = World(0.05, 0.05, decides=False)
    world.choice.using("p0")
    world.tick()
    for _ in range(50):
        world.run(0.1)
        world.choice.hear("p0", world.now)
    assert not any(world.sent.values())
    world.cut("p0")
    world.run(1)
    assert world.health("p0") is Health.DOWN
    assert world.health("p1") is Health.UP
    assert world.sent["p0"]
    assert not world.happened(Use)
    assert not world.happened(Redial)
    world.choice.using("p1")
    world.tick()
    world.restore("p0")
    world.lanes("p0", ready=False)
    world.lanes("p0", ready=True)
    world.run(1)
    assert world.health("p0") is Health.HELD


steps = st.one_of(
    st.tuples(st.just("cut"), st.integers(0, 2)),
    st.tuples(st.just("restore"), st.integers(0, 2)),
    st.tuples(st.just("lose"), st.integers(0, 2)),
    st.tuples(st.just("stall"), st.integers(1, 40)),
    st.tuples(st.just("run"), st.integers(1, 40)),
)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.002, 0.03, 0.08, 0.25]), st.integers(0, 2)), min_size=3, max_size=3
    ),
    st.lists(steps, max_size=40),
)
def test_whatever_happens_the_sessions_are_on_a_living_path_soon(
    paths: list[tuple[float, int]], story: list[tuple[str, int]]
) -> None:
    world = World()
    for number, (rtt, cost) in enumerate(paths):
        world.add(f"p{number}", rtt, cost, metered=number == 2)
    for what, number in story:
        name = f"p{number}"
        if what == "run":
            world.run(number / 20)
        elif what == "stall":
            world.stall(number / 20)
        elif what == "cut":
            world.cut(name)
        elif what == "restore":
            world.restore(name)
        else:
            world.lanes(name, ready=False)
            world.lanes(name, ready=True)
        assert world.choice.used in world.choice.paths
    # Left alone, it comes to rest on a path that lives; and on the cheapest when all have held.
    living = [name for name in world.alive if world.alive[name]]
    world.run(QUICK + 2 * max(world.rtt.values()) + 1.1)  # a dead path is asked once a second
    if living:
        assert world.choice.used in living
        assert world.choice.paths[world.choice.used].usable
        world.run(LONGEST_HOLD_S + 2)
        assert world.choice.paths[world.choice.used].cost == min(world.choice.paths[n].cost for n in living)
        moves = len(world.happened(Use))
        world.run(20)
        assert len(world.happened(Use)) == moves
    for name, watch in world.choice.paths.items():
        assert (watch.health in (Health.UP, Health.HELD)) == (name in living)
    told = [action.health for _, action in world.happened(Changed) if isinstance(action, Changed)]
    assert told.count(Health.DOWN) <= told.count(Health.HELD) + len(paths)
