"""A box that takes no new flows says so to its peer."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from appliance.flows import reasons
from appliance.lanes.link import Role
from tests.unit.test_peer import reset_seen


def test_the_peer_is_told_and_told_again(boxes: Any) -> None:
    boxes.boxes["dc"].reason = reasons.MEMORY_LIMIT
    boxes.up()
    branch, dc = boxes.peers["branch"], boxes.peers["dc"]
    boxes.until(lambda: branch.full == reasons.MEMORY_LIMIT)
    boxes.boxes["dc"].reason = 0
    dc.tell_full()
    boxes.until(lambda: branch.full == 0)


def test_what_was_lost_with_a_lane_is_said_on_the_next(boxes: Any) -> None:
    boxes.up()
    branch, dc = boxes.peers["branch"], boxes.peers["dc"]
    boxes.until(lambda: dc._told_full[1] > 0)
    boxes.boxes["dc"].reason = reasons.FLOW_LIMIT
    lane = dc.attachment.lanes[Role.EXPRESS]
    lane.close("lost")
    dc.attachment.lane_lost(lane, "lost")
    boxes.until(lambda: branch.full == reasons.FLOW_LIMIT)


def test_a_box_that_begins_anew_is_not_full(boxes: Any) -> None:
    boxes.up()
    branch = boxes.peers["branch"]
    boxes.boxes["dc"].reason = reasons.DRAINING
    boxes.peers["dc"].tell_full()
    boxes.until(lambda: branch.full == reasons.DRAINING)
    boxes.kill("dc")
    boxes.start("dc")
    boxes.up()
    boxes.until(lambda: branch.full == 0)


def test_a_flow_that_was_on_its_way_to_a_full_box_is_reset_and_its_server_not_blamed(boxes: Any) -> None:
    boxes.up()
    box, branch = boxes.boxes["dc"], boxes.peers["branch"]
    box.limits = box.limits.__class__(flows=1)
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as stack:
        first = stack.enter_context(boxes.connect(server.getsockname()))
        boxes.until(lambda: boxes.peers["dc"].flows)
        box.reason = reasons.FLOW_LIMIT
        boxes.peers["dc"].tell_full()
        second = stack.enter_context(boxes.connect(server.getsockname()))
        boxes.until(lambda: reset_seen(second))
        assert branch.full == reasons.FLOW_LIMIT
        assert boxes.boxes["branch"].refused == []
        assert not reset_seen(first)
