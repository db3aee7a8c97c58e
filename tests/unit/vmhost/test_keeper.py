"""Machines that end without having been told to are started again, ever more slowly."""

import math

from vmhost.keeper import LONGEST_S, SETTLED_S, Keeper


def test_a_crash_is_followed_by_a_start() -> None:
    keeper = Keeper()
    keeper.want("dc")
    keeper.runs("dc", 0.0)
    assert keeper.next_due() == math.inf
    assert keeper.ended("dc", 10.0) == 1.0
    assert keeper.due(10.5) == []
    assert keeper.next_due() == 11.0
    assert keeper.due(11.0) == ["dc"]
    assert keeper.due(11.0) == []


def test_the_back_off_doubles_to_a_limit_and_is_forgotten() -> None:
    keeper = Keeper()
    keeper.want("dc")
    waits = [keeper.ended("dc", float(now)) for now in range(20)]
    assert waits[:5] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert set(waits[9:]) == {LONGEST_S}
    keeper.runs("dc", 1000.0)
    assert keeper.ended("dc", 1000.0 + SETTLED_S - 1) == LONGEST_S
    keeper.runs("dc", 2000.0)
    assert keeper.ended("dc", 2000.0 + SETTLED_S) == 1.0


def test_what_is_let_go_stays_off() -> None:
    keeper = Keeper()
    keeper.want("dc")
    keeper.ended("dc", 0.0)
    keeper.let_go("dc")
    assert not keeper.wants("dc")
    assert keeper.due(100.0) == []
    assert keeper.ended("dc", 100.0) is None
    keeper.runs("other", 0.0)
    assert keeper.ended("other", 1.0) is None
