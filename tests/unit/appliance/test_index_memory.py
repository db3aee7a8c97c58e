"""Who gets how much of the index memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.index_memory import IDLE_S, IndexMemory, usual_budget

MB, GB = 10**6, 10**9


def memory(budget: int, **wants: int) -> IndexMemory[str]:
    made: IndexMemory[str] = IndexMemory(budget)
    for name, want in wants.items():
        made.add(name, want)
    return made


def held(box: IndexMemory[str], *names: str) -> list[int]:
    return [box.has(name) for name in names]


def test_nobody_has_memory_before_it_is_used() -> None:
    box = memory(100, a=60)
    assert box.plan(0) == []
    assert box.use("a", 0)
    assert box.plan(0) == [("a", 60)]
    assert not box.use("a", 1)
    assert box.plan(1) == []


def test_active_ones_share() -> None:
    box = memory(100, a=100, b=100, c=20)
    for name in "abc":
        box.use(name, 0)
    box.plan(0)
    assert held(box, "a", "b", "c") == [50, 25, 20]
    assert box.granted == 95


def test_a_newcomer_changes_little_and_givers_come_first() -> None:
    box = memory(100, a=50, b=50, c=50)
    box.use("a", 0)
    box.use("b", 0)
    box.plan(0)
    box.use("c", 1)
    assert box.plan(1) == [("b", 25), ("c", 25)]
    assert box.has("a") == 50


def test_an_idle_one_keeps_its_memory_until_somebody_needs_it() -> None:
    box = memory(100, a=60, b=60, c=60)
    box.use("a", 0)
    box.plan(0)
    assert box.plan(2 * IDLE_S) == []
    box.use("b", 2 * IDLE_S)
    assert box.plan(2 * IDLE_S) == [("a", 0), ("b", 60)]
    assert box.use("a", 2 * IDLE_S + 1)
    assert box.plan(2 * IDLE_S + 1) == [("b", 30), ("a", 60)]


def test_the_longest_idle_gives_first() -> None:
    box = memory(100, a=40, b=40, c=40)
    for at, name in enumerate("ab"):
        box.use(name, at)
    box.plan(1)
    box.use("c", 2 * IDLE_S)
    assert box.plan(2 * IDLE_S) == [("a", 0), ("c", 40)]
    assert box.has("b") == 40


def test_a_new_budget_and_one_that_leaves() -> None:
    box = memory(100, a=100, b=100)
    box.use("a", 0)
    box.use("b", 0)
    box.plan(0)
    box.budget = 50
    assert box.plan(1) == [("a", 25), ("b", 25)]
    box.remove("b")
    assert box.plan(2) == [("a", 50)]


@pytest.mark.parametrize(
    ("logs", "machine", "budget"),
    [(GB, 16 * GB, 64 << 20), (90 * GB, 16 * GB, 400 * MB), (1000 * GB, 16 * GB, 4 * GB)],
)
def test_usual_budget(logs: int, machine: int, budget: int) -> None:
    assert usual_budget(logs, machine) == budget


@given(
    st.integers(0, 1000),
    st.lists(st.integers(0, 500), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1000), st.booleans()), max_size=20),
)
def test_the_budget_holds_whatever_happens(
    budget: int, wants: list[int], steps: list[tuple[int, int, bool]]
) -> None:
    """At every moment of carrying out a plan, too; and who is active and wants something is not forgotten."""
    box: IndexMemory[int] = IndexMemory(budget)
    has = dict.fromkeys(range(len(wants)), 0)
    for key, want in enumerate(wants):
        box.add(key, want)
    now = 0.0
    for which, later, traffic in steps:
        now += later
        if traffic:
            box.use(which % len(wants), now)
        for key, size in box.plan(now):
            has[key] = size
            assert sum(has.values()) <= budget
            assert size <= wants[key]
        assert box.granted == sum(has.values())
        assert box.plan(now) == []
        if traffic and wants[which % len(wants)] and budget >= 2 * len(wants):
            assert has[which % len(wants)] > 0
