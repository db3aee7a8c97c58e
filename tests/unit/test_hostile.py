"""A peer with a true key that breaks the rules: what it can make this box keep, or do, has a bound."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

import dedupe
from appliance.flows.stream import FIRST_CREDIT, ReceiveHalf, StreamError
from appliance.lanes import attachment, frames
from appliance.lanes.bulk import BulkReceiver
from appliance.lanes.frames import Kind
from appliance.lanes.lane import Lane
from appliance.lanes.link import Role


class Counting:
    """Takes the place of a lane's owner for a while."""

    def __init__(self, lane: Lane, pause_at: int) -> None:
        self.seen: list[int] = []
        self._pause_at = pause_at

        def frame(lane: Lane, kind: int, body: bytes) -> None:
            del body
            self.seen.append(kind)
            lane.pause(len(self.seen) == self._pause_at)

        self.lane_frame = frame
        self.lane_drained = lambda _lane: None
        self.lane_lost = lambda _lane, _reason: None
        lane.owner = self  # type: ignore[assignment]


def test_a_pause_holds_also_what_came_in_the_same_breath(boxes: Any) -> None:
    boxes.up()
    sending, receiving = (boxes.peers[name].attachment.lanes[Role.BULK] for name in ("branch", "dc"))
    counting = Counting(receiving, pause_at=3)
    for number in range(10):
        sending.send(frames.pong(number))
    boxes.until(lambda: len(counting.seen) >= 3)
    boxes.loop.round()
    assert counting.seen == [Kind.PONG] * 3
    receiving.pause(False)
    boxes.until(lambda: len(counting.seen) == 10)


def test_overlapping_pieces_hold_no_more_than_the_credit() -> None:
    half = ReceiveHalf(FIRST_CREDIT, FIRST_CREDIT)
    held = 0
    with pytest.raises(StreamError, match="overlap"):
        for offset in range(1, 100):
            half.accept(offset, bytes(frames.MAX_BLOCK), False)
            held += frames.MAX_BLOCK
    assert held <= FIRST_CREDIT


def test_blocks_of_streams_that_nobody_opens_are_bounded_over_any_number_of_lanes(
    boxes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BulkReceiver, "MOST_EARLY", 1 << 20)
    boxes.up()
    branch, dc = boxes.peers["branch"], boxes.peers["dc"]
    coded = branch.cache(0).encode(
        bytes(frames.MAX_BLOCK), effort=dedupe.Effort.DENSE, store=False, literal=True
    )
    with pytest.raises(frames.ProtocolError, match="nobody has opened"):
        for number in range(100):
            dc.take(Role.BULK, *frames.parse(frames.block(2 * number, 0, 0, coded.wire)))
            boxes.until(lambda: not dc._blocks._decoding)
    assert dc._blocks._early_bytes < 2 << 20


def test_a_lane_carries_its_session_once(boxes: Any) -> None:
    boxes.up()
    lane = boxes.peers["branch"].attachment.lanes[Role.EXPRESS]
    lane.send(b"".join(frames.attach(turn, 0) for turn in range(100, 200)))
    boxes.until(lambda: lane.closed)
    assert "lane.protocol" in dict(boxes.boxes["dc"].events)


def test_whoever_reads_no_answer_gets_none(boxes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachment, "MOST_BACKLOG", 0)
    boxes.up()
    sending, receiving = (boxes.peers[name].attachment.lanes[Role.EXPRESS] for name in ("branch", "dc"))
    heard = []
    monkeypatch.setattr(boxes.peers["branch"], "sounded", lambda _lane, kind, _body: heard.append(kind))
    before = receiving.bytes_in
    sending.send(frames.sound(1) * 3)
    boxes.until(lambda: receiving.bytes_in > before)
    boxes.loop.round()
    assert not receiving.backlog
    assert not heard


def test_depths_that_nobody_asks_for_are_forgotten(boxes: Any) -> None:
    boxes.up()
    branch = boxes.peers["branch"]
    lane = branch.attachment.lanes[Role.EXPRESS]
    branch._sounding.ask(lane)
    for _ in range(1000):
        branch.sounded(lane, Kind.DEPTH, frames.parse(frames.depth(5))[1])
    assert 0 < len(branch.sound()) < 100


def test_a_stream_can_only_fail_for_the_one_who_opened_it(boxes: Any) -> None:
    boxes.up()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = boxes.connect(listener.getsockname())
        dc = boxes.peers["dc"]
        boxes.until(lambda: dc.flows)
        (stream,) = dc.flows
        with pytest.raises(frames.ProtocolError, match="itself has opened"):
            dc.take(Role.EXPRESS, *frames.parse(frames.failed(stream, errno.ECONNREFUSED)))
        assert not boxes.boxes["dc"].refused
        client.close()


def test_paths_that_a_peer_has_named_and_left_make_room_for_others(boxes: Any) -> None:
    boxes.up()
    port = boxes.port
    for number in range(attachment.MOST_PATHS + 2):
        boxes.kill("branch")
        boxes.paths = (boxes.paths[0].__class__(name=f"p{number}", dial=boxes.paths[0].dial),)
        boxes.start("branch")
        boxes.until(lambda number=number: f"p{number}" in boxes.peers["dc"].attachment.paths)
        boxes.up()
    assert len(boxes.peers["dc"].attachment.paths) <= attachment.MOST_PATHS
    assert boxes.port == port
