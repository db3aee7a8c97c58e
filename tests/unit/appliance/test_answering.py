"""Whether a disk answers."""

from __future__ import annotations

from appliance.answering import CALM_S, HUNG_S, SLOW_S, Answering


def test_a_quick_disk_answers() -> None:
    disk = Answering()
    for now in range(100):
        disk.begin(now)
        disk.end(now + SLOW_S / 2)
        assert not disk.look(now + SLOW_S)
    assert disk.yes


def test_a_step_that_does_not_end_is_told_once() -> None:
    disk = Answering()
    disk.begin(0.0)
    assert not disk.look(HUNG_S / 2)
    assert disk.look(HUNG_S)
    assert not disk.yes
    assert not disk.look(10 * CALM_S)


def test_it_answers_again_when_nothing_has_been_slow_for_a_while() -> None:
    disk = Answering()
    disk.begin(0.0)
    assert disk.look(5.0)
    disk.end(6.0)
    assert not disk.look(6.0 + CALM_S / 2)
    disk.begin(12.0)
    disk.end(12.0 + SLOW_S)  # it crawls
    assert not disk.look(6.0 + CALM_S)
    assert not disk.yes
    assert disk.look(12.0 + SLOW_S + CALM_S)
    assert disk.yes


def test_it_does_not_answer_again_in_the_middle_of_a_slow_step() -> None:
    disk = Answering()
    disk.begin(0.0)
    assert disk.look(5.0)
    disk.end(6.0)
    disk.begin(7.0)
    assert not disk.look(6.0 + CALM_S)
    disk.end(7.1 + CALM_S)
    assert not disk.look(7.1 + CALM_S)
