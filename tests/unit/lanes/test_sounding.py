"""How deep the queue on the way is, by two clocks that do not agree."""

from typing import Any

import pytest

from appliance.lanes.lane import Lane
from appliance.lanes.link import Role
from appliance.lanes.sounding import FORGET_S, Tide, stamp_at

WAY_S = 0.04
OFFSETS = [0.0, 1234.5, -99.25, (1 << 46) / 1e6 - 0.02]  # the last one wraps


def sounded(tide: Tide, sent: float, queue: float, offset: float, waited: float = 0.0) -> float:
    """Seconds of queue that the receiver takes a frame to have waited; `waited` for its own process."""
    came = sent + WAY_S + queue
    return tide.depth(stamp_at(sent + offset), came, came + waited) / 1e6


@pytest.mark.parametrize("offset", OFFSETS)
def test_what_is_beyond_the_quickest_is_queue(offset: float) -> None:
    tide = Tide()
    waited = [0.01, 0.0, 0.1, 0.5, 0.02, 0.0]
    found = [sounded(tide, 100.0 + at, queue, offset) for at, queue in enumerate(waited)]
    assert found[0] == 0.0, "nothing is known to compare it with"
    assert found[1:] == pytest.approx(waited[1:], abs=1e-5)


def test_what_waited_for_a_busy_process_is_no_queue() -> None:
    tide = Tide()
    sounded(tide, 0.0, 0.0, 0.0)
    assert sounded(tide, 1.0, 0.0, 0.0, waited=0.1) == 0.0
    assert sounded(tide, 2.0, 0.05, 0.0, waited=0.1) == pytest.approx(0.05, abs=1e-5)
    assert sounded(tide, 3.0, 0.05, 0.0) == pytest.approx(0.05, abs=1e-5), "the least is not spoilt by it"


def test_a_way_that_became_longer_is_no_queue_for_ever() -> None:
    tide = Tide()
    sounded(tide, 0.0, 0.0, 0.0)
    assert sounded(tide, 1.0, 0.05, 0.0) == pytest.approx(0.05, abs=1e-5)
    later = [sounded(tide, FORGET_S * part, 0.05, 0.0) for part in (1.1, 1.5, 2.2, 2.5)]
    assert later[-1] == 0.0


def test_the_peer_tells_over_the_lane(boxes: Any) -> None:
    boxes.up()
    branch, dc = boxes.peers["branch"], boxes.peers["dc"]
    told: dict[str, list[float]] = {"branch": [], "dc": []}

    def answered() -> bool:
        for name, peer in (("branch", branch), ("dc", dc)):
            told[name] += peer.sound()
        return all(len(depths) >= 3 for depths in told.values())

    boxes.until(answered)
    assert all(depth >= 0 for depths in told.values() for depth in depths)


def test_a_peer_that_cannot_is_not_asked(boxes: Any) -> None:
    boxes.up()
    peer = boxes.peers["branch"]
    peer.attachment.hello.features.clear()
    lane: Lane = peer.attachment.lanes[Role.EXPRESS]
    before = lane.backlog
    assert peer.sound() == []
    assert lane.backlog == before
