"""Fifty branches on one real centre: told apart, served side by side, and left alone when one of them goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from appliance.lab import Lab, branches, telling
from appliance.lab.hub import Hub
from tests.lab.plain_pair import until

COUNT = 50
SERVER = ("10.2.0.2", telling.PORT)
GREEDY = 10  # of which each opens several flows
ALL = range(COUNT)
MOST_IDLE = 5 << 20
RATE = 2_500_000  # of the centre's line: what has passed stays in memory, up to a bound of its own


@pytest.fixture(scope="module")
def hub(module_lab: Lab) -> Iterator[Hub]:
    telling.start(module_lab.server)
    module_lab.wan.set(rate=RATE)
    with Hub(module_lab, COUNT) as hub:
        yield hub


def received(hub: Hub) -> list[int]:
    return [branch["received"] for branch in hub.look()]


def go_on(hub: Hub, *others: int) -> None:
    """All branches but the others receive something new."""
    before = received(hub)
    wanted = [number for number in ALL if number not in others]
    assert until(lambda: all(received(hub)[number] > before[number] for number in wanted), 60)


def peers(hub: Hub) -> dict[str, Any]:
    return {peer["id"]: peer for peer in hub.box.call("peers")}


def test_fifty_branches_are_served_side_by_side(hub: Hub) -> None:
    assert [branch["state"] for branch in hub.look()] == ["up"] * COUNT
    for number in ALL:
        hub.open(number, 3 if number < GREEDY else 1, SERVER)
    go_on(hub)
    seen = peers(hub)
    for number in ALL:
        peer = seen[branches.name(number)]
        assert peer["streams"] == (3 if number < GREEDY else 1)
        assert peer["prefixes"] == [branches.prefix(number)]
        assert peer["wan_out"] > 0
    aborted = sum(peer["aborted"] for peer in seen.values())
    assert aborted == 0


def test_a_reload_and_a_revocation_of_one_touch_no_other(hub: Hub) -> None:
    incarnations = {name: peer["since"] for name, peer in peers(hub).items()}
    hub.write(without=frozenset({7}))
    hub.box.call("reload")
    assert until(lambda: hub.look()[7]["flows"] == 0, 20)
    hub.box.call("enrol_revoke", peer=branches.name(8))
    assert until(lambda: hub.look()[8]["flows"] == 0, 20)
    go_on(hub, 7, 8)
    seen = peers(hub)
    assert branches.name(7) not in seen
    assert seen[branches.name(8)]["state"] == "revoked"
    for number in ALL:
        if number not in (7, 8):
            peer = seen[branches.name(number)]
            assert peer["aborted"] == 0
            assert peer["since"] == pytest.approx(incarnations[branches.name(number)], abs=1.0)


def test_idle_peers_keep_little(hub: Hub) -> None:
    for number in ALL:
        hub.shut(number)
    assert until(lambda: all(branch["flows"] == 0 for branch in hub.look()), 60)
    assert until(lambda: hub.per_peer() < MOST_IDLE, 60), f"{hub.per_peer():,.0f} bytes each"
