"""What open flows notice of a WAN that dies, changes or forgets: nothing but a pause. Real boxes, two WANs.

Pauses are printed (`-s`), not asserted: machines are shared. `branchline lab stress` holds them to their limits.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from appliance.lab import Lab, WanProfile, mirroring, switching
from appliance.lab.enduring import Endured, Sessions, Wish
from appliance.lab.pair import LANE_PORT, Box, Pair
from tests.lab.plain_pair import until

FAR = WanProfile(rate=12_500_000, rtt=0.04)
CUT_S = 10.0
DEADLINE_S = 30.0
NewLab = Callable[..., Lab]


@pytest.fixture
def lab(new_lab: NewLab) -> Lab:
    """Two WANs, and a mirror."""
    lab = new_lab(rate=FAR.rate, rtt=FAR.rtt, second=FAR)
    mirroring.start(lab.server)
    return lab


@pytest.fixture
def single(new_lab: NewLab) -> Lab:
    """One WAN, and a mirror."""
    lab = new_lab(rate=FAR.rate, rtt=FAR.rtt)
    mirroring.start(lab.server)
    return lab


def begin(lab: Lab, transfers: int = 20, idle: int = 20) -> Sessions:
    sessions = Sessions(lab.client, Wish(lab.server.v4, mirroring.PORT, transfers, idle))
    lab.client.call(time.sleep, 0.5)  # traffic is under way
    return sessions


def end(pair: Pair, sessions: Sessions) -> Endured:
    """Every session has gone on, every byte is right, and they were ours to lose."""
    assert pair.branch.flows_intercepted() >= 1
    endured = sessions.finish()
    assert endured.broken == []
    assert endured.bytes
    print(f"worst gap {endured.worst_gap:.2f} s, {endured.bytes / 1e6:.0f} MB")
    return endured


def events(box: Box, kind: str) -> list[dict[str, Any]]:
    return [event for event in box.events(limit=1000) if event["kind"] == kind]


def peer(box: Box) -> dict[str, Any]:
    found = box.call("peers")[0]
    assert isinstance(found, dict)
    return found


def test_fifty_transfers_and_fifty_sessions_survive_ten_seconds_without_a_wan(single: Lab) -> None:
    with Pair(single) as pair:
        sessions = begin(single, 50, 50)
        single.wan.cut()
        began = time.monotonic()
        for box in pair.boxes:
            assert until(lambda box=box: peer(box)["state"] == "path_down", DEADLINE_S)  # type: ignore[misc]
        single.client.call(time.sleep, max(0.0, CUT_S - (time.monotonic() - began)))
        single.wan.restore()
        endured = end(pair, sessions)
        assert endured.worst_gap > CUT_S / 2
        for box in pair.boxes:
            assert until(lambda box=box: peer(box)["state"] == "up", DEADLINE_S)  # type: ignore[misc]
            assert not events(box, "peer.restarted")


def test_flows_move_to_the_other_wan_and_new_ones_are_optimised_there(lab: Lab) -> None:
    with Pair(lab) as pair:
        sessions = begin(lab)
        for turn in range(4):
            switching.wait_ready(pair)
            wan = switching.used(pair)
            wan.cut()
            assert until(lambda wan=wan: switching.used(pair) is not wan, DEADLINE_S)  # type: ignore[misc]
            before = pair.branch.flows_intercepted()
            fresh = Sessions(lab.client, Wish(lab.server.v4, mirroring.PORT, 1, 0))
            assert pair.branch.flows_intercepted() == before + 2, f"new flows are taken in turn {turn}"
            wan.restore()
            assert fresh.finish().broken == []
        end(pair, sessions)
        assert min(peer(box)["switches"] for box in pair.boxes) >= 4
        assert len(events(pair.branch, "path.down")) >= 4
        for box in pair.boxes:
            assert not events(box, "peer.path_down")


def test_killed_lanes_are_replaced(lab: Lab) -> None:
    chance = random.Random(1)
    with Pair(lab) as pair:
        sessions = begin(lab)
        for _ in range(20):
            switching.wait_ready(pair)
            assert switching.kill_a_lane(lab.branch, chance)
        end(pair, sessions)
        assert not events(pair.branch, "peer.restarted")


def test_flows_outlive_a_change_of_the_boxs_address(single: Lab) -> None:
    with Pair(single) as pair:
        sessions = begin(single)
        for words in ("del 10.9.1.1/24", "add 10.9.1.77/24"):
            single.branch.run(["ip", "address", *words.split(), "dev", "wan0"], check=True)
        routed = ["ip", "route", "replace", "default", "via", "10.9.1.254", "dev", "wan0"]
        single.branch.run(routed, check=True)
        single.wan_host.run(["ip", "route", "replace", "10.1.0.0/16", "via", "10.9.1.77"], check=True)
        assert until(
            lambda: all("10.9.1.77" in lane["remote"] for lane in peer(pair.dc)["lanes"]) and ready(pair),
            DEADLINE_S,
        )
        end(pair, sessions)


def test_flows_outlive_a_nat_that_forgets(single: Lab) -> None:
    """What belongs to connections that it knew is dropped without a word; new ones pass."""
    with Pair(single) as pair:
        sessions = begin(single)
        switching.wait_ready(pair)
        ports = {lane["remote"].split()[1] for lane in peer(pair.dc)["lanes"]}
        known = ", ".join(sorted(ports))
        rules = f"""
table inet nat_that_forgets {{
 chain forward {{
  type filter hook forward priority 10;
  tcp dport {LANE_PORT} tcp sport {{ {known} }} drop
  tcp sport {LANE_PORT} tcp dport {{ {known} }} drop
 }}
}}
"""
        single.wan_host.run(["nft", "-f", "-"], input=rules, text=True, check=True)
        assert until(
            lambda: (
                ready(pair)
                and not ports
                & {lane["remote"].split()[1] for lane in peer(pair.dc)["lanes"] if lane["carries"]}
            ),
            DEADLINE_S,
        )
        end(pair, sessions)


def ready(pair: Pair) -> bool:
    return switching.ready(pair) and peer(pair.branch)["state"] == "up"


def test_a_hung_data_plane_is_told_from_a_dead_path(single: Lab) -> None:
    with Pair(single) as pair:
        pair.dc.signal("data", signal.SIGSTOP)
        assert until(lambda: peer(pair.branch)["state"] == "silent", DEADLINE_S)
        assert [path["state"] for path in switching.paths(pair)] == ["up"]
        assert until(lambda: peer(pair.branch)["state"] == "up", DEADLINE_S)  # its supervisor has replaced it
        assert events(pair.branch, "peer.restarted") or events(pair.branch, "peer.down")
        assert not events(pair.branch, "peer.path_down")
