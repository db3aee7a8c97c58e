"""When an agent is asked, and what is told of it."""

from vmhost.agent.facts import Facts
from vmhost.agent.standing import Standing

FACTS = Facts("Debian", "dc-1", (), ())


def test_an_agent_that_comes_is_asked_at_once_and_then_every_minute() -> None:
    one = Standing(0.0)
    assert (one.state, one.is_due(1.0)) == ("absent", False)
    one.seen(True, 2.0)
    assert (one.state, one.is_due(2.0), one.is_due(3.0)) == ("connected", True, False)
    one.said(FACTS, "", 4.0)
    assert (one.state, one.facts, one.age(14.0)) == ("answers", FACTS, 10.0)
    assert (one.is_due(61.9), one.is_due(62.0)) == (False, True)
    one.said(None, "no answer within 30 s", 92.0)
    assert (one.state, one.trouble, one.age(104.0)) == ("silent", "no answer within 30 s", 100.0)


def test_it_is_told_when_it_has_come_or_gone_for_good() -> None:
    one = Standing(0.0)
    one.seen(True, 1.0)
    assert (one.news(5.9), one.news(6.0), one.news(7.0)) == (None, True, None)
    one.seen(False, 8.0)
    assert (one.state, one.news(12.9), one.news(13.0), one.news(14.0)) == ("absent", None, False, None)


def test_a_channel_that_flaps_is_neither_told_of_nor_asked_all_the_time() -> None:
    one, asked = Standing(0.0), 0
    for now in range(100):
        one.seen(now % 2 == 0, float(now))
        assert one.news(float(now)) is None
        asked += one.is_due(float(now))
        assert one.next() >= now
    assert asked <= 10


def test_a_clock_is_set_once_the_guest_goes_on() -> None:
    one = Standing(0.0)
    one.seen(True, 1.0)
    assert one.is_due(1.0)
    assert not one.is_late
    one.late(2.0)
    assert one.is_late
    assert one.is_due(2.0)
    assert one.clock_is_set(done=True)
    assert not one.is_late


def test_a_clock_that_cannot_be_set_is_told_in_the_end() -> None:
    one = Standing(0.0)
    one.late(1.0)
    assert [one.clock_is_set(done=False) for _ in range(3)] == [False, False, True]


def test_a_guest_that_boots_is_not_late() -> None:
    one = Standing(0.0)
    one.late(1.0)
    one.booted()
    assert not one.is_late
