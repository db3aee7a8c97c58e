"""Associations, told as conversations between a box that dials and one that is dialled."""

from __future__ import annotations

from appliance.lanes.frames import VERSION, Hello
from appliance.lanes.link import Link, Outcome, Role


def speak(link: Link, role: Role, version: int = VERSION, oldest: int = VERSION) -> Hello:
    return Hello(
        version, oldest, link.box, link.incarnation, list(link.association), int(role), begun=link.begun
    )


def pair() -> tuple[Link, Link]:
    return Link("branch", 11, "dc", True), Link("dc", 22, "branch", False)


def meet(branch: Link, dc: Link, role: Role) -> tuple[Outcome, Outcome]:
    called = dc.on_hello(speak(branch, role)).outcome
    return called, branch.on_hello(speak(dc, role)).outcome


def test_the_first_lane_begins_and_the_second_joins() -> None:
    branch, dc = pair()
    assert meet(branch, dc, Role.EXPRESS) == (Outcome.FRESH, Outcome.FRESH)
    assert meet(branch, dc, Role.BULK) == (Outcome.JOIN, Outcome.JOIN)
    assert branch.association == dc.association


def test_answers_that_arrive_in_another_order_are_still_one_association() -> None:
    branch, dc = pair()
    first, second = speak(branch, Role.BULK), speak(branch, Role.EXPRESS)
    assert dc.on_hello(first).outcome is Outcome.FRESH
    reply_first = speak(dc, Role.BULK)
    assert dc.on_hello(second).outcome is Outcome.JOIN
    assert branch.on_hello(speak(dc, Role.EXPRESS)).outcome is Outcome.FRESH
    assert branch.on_hello(reply_first).outcome is Outcome.JOIN


def test_a_lost_lane_attaches_again() -> None:
    branch, dc = pair()
    for role in Role:
        meet(branch, dc, role)
    assert meet(branch, dc, Role.BULK) == (Outcome.JOIN, Outcome.JOIN)


def test_the_dialled_box_restarts() -> None:
    branch, dc = pair()
    meet(branch, dc, Role.EXPRESS)
    dc = Link("dc", 23, "branch", False)
    assert meet(branch, dc, Role.EXPRESS) == (Outcome.FRESH, Outcome.RESTART)
    branch.begin_anew()
    assert meet(branch, dc, Role.EXPRESS) == (Outcome.FRESH, Outcome.FRESH)


def test_the_dialling_box_restarts() -> None:
    branch, dc = pair()
    meet(branch, dc, Role.EXPRESS)
    branch = Link("branch", 12, "dc", True)
    verdict = dc.on_hello(speak(branch, Role.EXPRESS))
    assert (verdict.outcome, verdict.reason) == (Outcome.FRESH, "the peer has restarted")


def test_a_dialled_box_that_gave_the_association_up_is_noticed() -> None:
    branch, dc = pair()
    meet(branch, dc, Role.EXPRESS)
    dc.begin_anew()
    assert meet(branch, dc, Role.EXPRESS) == (Outcome.FRESH, Outcome.RESTART)


def test_a_late_hello_of_an_earlier_association_changes_nothing() -> None:
    branch, dc = pair()
    late = speak(branch, Role.BULK)
    meet(branch, dc, Role.EXPRESS)
    branch.begin_anew()
    meet(branch, dc, Role.EXPRESS)
    now = list(dc.association)
    assert dc.on_hello(late).outcome is Outcome.REFUSE
    assert dc.association == now


def test_refusals_name_what_does_not_fit() -> None:
    branch, dc = pair()
    for hello, word in (
        (speak(branch, Role.BULK, version=VERSION + 1, oldest=VERSION + 1), "version"),
        (speak(branch, Role.BULK, version=0, oldest=0), "version"),
        (speak(Link("stranger", 1, "dc", True), Role.BULK), "name"),
        (Hello(VERSION, VERSION, "branch", 1, [1, 1], 7), "role"),
        (Hello(VERSION, VERSION, "branch", 1, [1], 0), "association"),
    ):
        verdict = dc.on_hello(hello)
        assert verdict.outcome is (Outcome.STRANGE if word == "version" else Outcome.REFUSE)
        assert verdict.reason.startswith(word)
    assert not dc.established
