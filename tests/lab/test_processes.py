"""A box whose peers are spread over two data processes: one to everybody who looks, two when one of them dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from appliance.lab import Lab, branches, telling
from appliance.lab.hub import Hub
from appliance.lab.pair import Box, Pair, Side
from appliance.spread import number_of
from tests.lab.exchanging import exchange, serving
from tests.lab.plain_pair import until

COUNT = 4
BY_PROCESS = {
    number: [branch for branch in range(COUNT) if number_of(branches.name(branch), 2) == number]
    for number in (1, 2)
}


@pytest.fixture(scope="module")
def hub(module_lab: Lab) -> Iterator[Hub]:
    telling.start(module_lab.server)
    with Hub(module_lab, COUNT, processes=2) as hub:
        yield hub


def download(hub: Hub, numbers: list[int]) -> None:
    """Two downloads of each of these branches, of which something arrives."""
    for number in numbers:
        hub.open(number, 2, ("10.2.0.2", telling.PORT))
    go_on(hub, numbers)


def go_on(hub: Hub, numbers: list[int]) -> None:
    before = [branch["received"] for branch in hub.look()]
    assert until(lambda: all(hub.look()[number]["received"] > before[number] for number in numbers), 30)


def pids(box: Box) -> dict[int, int]:
    """Of the data processes that answer, by their numbers."""
    return {process["process"]: process["pid"] for process in box.status()["data"]["processes"]}


def kill(box: Box, number: int) -> None:
    box.wait(lambda: number in pids(box), f"data process {number} answers")
    os.kill(pids(box)[number], signal.SIGKILL)


def peers(box: Box) -> dict[str, Any]:
    return {peer["id"]: peer for peer in box.call("peers")}


def test_who_looks_sees_all(hub: Hub) -> None:
    assert all(BY_PROCESS.values())
    download(hub, list(range(COUNT)))
    status = hub.box.status()
    assert status["data"]["up"]
    assert status["data"]["reason"] == ""
    assert len(status["data"]["processes"]) == 2
    assert status["flows"]["optimised"] == 2 * COUNT
    assert {peer["state"] for peer in status["peers"]} == {"up"}
    flows = [(flow["peer"], flow["stream"]) for flow in hub.box.call("flows")]
    assert flows == sorted(flows)
    assert sorted({peer for peer, _ in flows}) == [branches.name(number) for number in range(COUNT)]
    caches = hub.box.call("cache")
    assert {cache["peer"] for cache in caches["caches"]} == {branches.name(number) for number in range(COUNT)}
    assert all(cache["index"] for cache in caches["caches"])


def test_the_death_of_one_is_felt_by_its_peers_alone(hub: Hub) -> None:
    go_on(hub, list(range(COUNT)))
    before = peers(hub.box)
    kill(hub.box, 2)
    go_on(hub, BY_PROCESS[1])
    assert until(lambda: all(hub.look()[number]["flows"] == 0 for number in BY_PROCESS[2]), 20)
    assert until(lambda: all(peer["state"] == "up" for peer in peers(hub.box).values()), 30)
    after = peers(hub.box)
    for number in BY_PROCESS[1]:
        peer = branches.name(number)
        assert (after[peer]["streams"], after[peer]["aborted"]) == (2, 0)
        assert after[peer]["since"] == pytest.approx(before[peer]["since"], abs=1.0)
    down = [event for event in hub.box.events() if event["kind"] == "data.down"]
    assert [event["text"].split(";")[0] for event in down] == ["data process 2 of 2 is gone"]
    download(hub, BY_PROCESS[2])
    go_on(hub, BY_PROCESS[1])


def test_what_is_ordered_reaches_both(hub: Hub) -> None:
    gone = {numbers[0] for numbers in BY_PROCESS.values()}
    for number in gone:
        hub.box.call("bypass", on=True, peer=branches.name(number))
        assert peers(hub.box)[branches.name(number)]["state"] == "bypassed"
    hub.write(without=frozenset(gone))
    assert hub.box.call("reload")["data"] == "told"
    hub.box.call("cache", action="clear")
    cleared = {event["subject"] for event in hub.box.events() if event["kind"] == "cache.cleared"}
    assert cleared == peers(hub.box).keys()
    for number in range(COUNT):
        hub.shut(number)
    assert sorted(peers(hub.box)) == [branches.name(number) for number in range(COUNT) if number not in gone]


def test_flows_of_a_peer_are_exact_while_another_process_dies(
    lab: Lab, new_pair: Callable[..., Pair]
) -> None:
    two = Side(box={"processes": 2})
    pair = new_pair(lab, branch=two, dc=two)
    with serving(lab), ThreadPoolExecutor() as pool:
        others = 3 - number_of("dc", 2)  # the process at the branch that has no peer
        exchanged = pool.submit(exchange, lab, 50, 7)
        pair.branch.wait(lambda: pair.branch.status()["data"]["flows_intercepted"] > 0, "flows are open")
        kill(pair.branch, others)
        assert exchanged.result() == {"flows": 50, "exact": 50, "wrong": []}
        pair.branch.wait(lambda: pair.branch.call("peers")[0]["finished"] == 50, "all have ended")
        assert pair.branch.call("peers")[0]["aborted"] == 0
