"""A peer with a true key that keeps no other rule: it hurts itself, and an honest peer of the same box goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import dedupe
from appliance.lab import Lab, branches, telling
from appliance.lab.hub import Hub
from appliance.lab.pair import LANE_PORT
from appliance.lab.topology import WAN_ADDRESS
from appliance.lanes import frames
from appliance.lanes.link import Role
from tests.lab.hostile import HostilePeer
from tests.lab.plain_pair import until

SERVER = ("10.2.0.2", telling.PORT)
HONEST, HOSTILE = 0, 1
MEMORY = 64 << 20
FLOWS = 400
MOST_MORE = 3 * MEMORY  # bytes of RAM that all a hostile peer does may cost
RATE = 2_500_000  # so that the honest peer alone does not keep the machine busy


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(rate=RATE) as made:
        telling.start(made.server)
        yield made


@pytest.fixture(scope="module")
def hub(lab: Lab) -> Iterator[Hub]:
    with Hub(lab, 1, {"memory": MEMORY, "flows": FLOWS, "drain": 0}, rate=RATE, absent=1) as hub:
        hub.open(HONEST, 2, SERVER)
        goes_on(hub, 2)
        yield hub


@pytest.fixture
def hostile(lab: Lab, hub: Hub) -> Iterator[HostilePeer]:
    """And while it does what it did: nothing of it has hurt the honest peer, which opens another flow, or the box."""
    (pid,) = hub.box.pids("data")
    memory, flows = hub.resident(), len(received(hub))
    with HostilePeer(lab.branch, (WAN_ADDRESS["dc"][0], LANE_PORT), hub.keys, HOSTILE) as peer:
        yield peer
        hub.open(HONEST, 1, SERVER)
        goes_on(hub, flows + 1)
        assert hub.box.pids("data") == [pid]
        assert hub.resident() - memory < MOST_MORE
    honest = peer_of(hub, HONEST)
    assert honest["aborted"] == 0
    assert honest["state"] == "up"


def peer_of(hub: Hub, number: int) -> dict[str, Any]:
    return next(peer for peer in hub.box.call("peers") if peer["id"] == branches.name(number))


def goes_on(hub: Hub, flows: int) -> None:
    """So many flows of the honest peer are open, each has received something, and together they receive more.

    Not each of them: who has had least goes first.
    """
    assert until(lambda: len(received(hub)) == flows and all(received(hub)), 60)
    before = sum(received(hub))
    assert until(lambda: sum(received(hub)) > before, 60)


def received(hub: Hub) -> list[int]:
    """Bytes that each flow of the honest peer has got from the server."""
    name = branches.name(HONEST)
    return [flow["lan_in"] for flow in hub.box.call("flows", plane="data") if flow["peer"] == name]


def streams(hub: Hub) -> int:
    """Of the hostile peer."""
    return int(peer_of(hub, HOSTILE)["streams"])


def test_it_stops_reading(hostile: HostilePeer, hub: Hub) -> None:
    express, _ = hostile.begin()
    for stream in range(0, 400, 2):
        assert express.say(hostile.open(stream, SERVER), frames.credit(stream, 1 << 40))
    assert until(lambda: streams(hub) == 200, 20)


def test_it_opens_250_times_as_many_streams_as_there_is_room_for(hostile: HostilePeer, hub: Hub) -> None:
    express, _ = hostile.begin()
    for start in range(0, 2 * 250 * FLOWS, 2000):
        opens = (hostile.open(stream, SERVER) for stream in range(start, start + 2000, 2))
        if not express.say(*opens):
            break
    assert until(lambda: streams(hub) > FLOWS // 4, 20)


def test_it_sends_one_byte_after_the_other(hostile: HostilePeer, hub: Hub) -> None:
    express, bulk = hostile.begin()
    express.say(hostile.open(0, SERVER))
    slow = hostile.block(0, 0, bytes(1000))
    for at in range(20):
        bulk.say(slow[at : at + 1])
        express.say(frames.ping(7)[at % 3 : at % 3 + 1])
    assert until(lambda: streams(hub) == 1, 20)


def test_it_asks_without_end_and_reads_no_answer(hostile: HostilePeer, hub: Hub) -> None:
    express, _ = hostile.begin()
    sound = frames.sound(1) * 20_000
    for _ in range(20):
        if not express.say(sound):
            break


def test_it_moves_its_session_without_end(hostile: HostilePeer, hub: Hub) -> None:
    express, _ = hostile.begin()
    for stream in range(0, 200, 2):
        express.say(hostile.open(stream, SERVER))
    again = b"".join(frames.attach(turn, 0) for turn in range(2, 5000))
    express.say(again)
    assert express.ends()


def test_its_blocks_are_a_thousand_times_what_it_sends(hostile: HostilePeer, hub: Hub) -> None:
    _, bulk = hostile.begin()
    raw = bytes(frames.MAX_BLOCK)
    for round_ in range(20):
        streams = range(round_ * 400, round_ * 400 + 400, 2)
        if not bulk.say(*(hostile.block(stream, 0, raw) for stream in streams)):
            break


Lie = Callable[
    [HostilePeer], tuple[int, bytes]
]  # on which lane: express, bulk, an express one that stands by
LIES: dict[str, Lie] = {
    "beyond its credit": lambda peer: (0, frames.data(0, 1 << 40, 0, dedupe.pack(b"x", dense=False))),
    "a second time": lambda peer: (0, frames.data(0, 0, 0, dedupe.pack(b"xy", dense=False)) * 2),
    "behind the end": lambda peer: (
        0,
        frames.data(0, 0, 1, dedupe.pack(b"x", dense=False))
        + frames.data(0, 1, 0, dedupe.pack(b"x", dense=False)),
    ),
    "an offset without end": lambda peer: (
        0,
        frames.data(0, (1 << 62) - 1, 0, dedupe.pack(b"x", dense=False)),
    ),
    "an end before the beginning": lambda peer: (
        0,
        frames.data(0, 0, 0, dedupe.pack(b"xyz", dense=False)) + frames.data(0, 1, 1, b""),
    ),
    "frames that never were": lambda peer: (0, frames.ack(1 << 40)),
    "to go on where nobody was": lambda peer: (2, frames.attach(2, 1 << 40)),
    "frames left out": lambda peer: (2, frames.attach(2, 0, 1 << 40)),
    "to attach once more": lambda peer: (0, frames.attach(2, 0)),
    "a stream that is not its own": lambda peer: (0, peer.open(1, SERVER)),
    "a block beyond its credit": lambda peer: (1, peer.block(0, 1 << 40, bytes(1000))),
    "a NAK of what was never sent": lambda peer: (1, frames.nak(1 << 40)),
    "blocks acknowledged that never were": lambda peer: (1, frames.ack(1 << 40)),
}


def test_it_lies(hostile: HostilePeer) -> None:
    for name, lie in LIES.items():
        lanes = (*hostile.begin(), hostile.lane(Role.EXPRESS))
        lanes[0].say(hostile.open(0, SERVER))
        which, said = lie(hostile)
        lanes[which].say(said)
        assert lanes[which].ends(), name
