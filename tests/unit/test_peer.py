"""Two peers over real lanes: flows arrive byte for byte, ends are honest, lanes may come and go."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from appliance import identity, marking
from appliance.description import describe
from appliance.flows import policy, reasons
from appliance.lanes import bulk, frames
from appliance.lanes.frames import Hello, Kind, Open, ProtocolError, Site
from appliance.lanes.lane import Lane
from appliance.lanes.link import Role


class Ends:
    """Both end hosts of a flow, driven from the loop's thread without blocking it."""

    def __init__(self, boxes: Any, listener: socket.socket) -> None:
        self.boxes = boxes
        self.client = boxes.connect(listener.getsockname())
        self.server: socket.socket | None = None
        self._listener = listener

    def accept(self) -> socket.socket:
        def accepted() -> bool:
            with contextlib.suppress(BlockingIOError):
                self.server, _ = self._listener.accept()
                self.server.setblocking(False)
            return self.server is not None

        self.boxes.until(accepted)
        assert self.server is not None
        return self.server

    def move(self, sender: socket.socket, receiver: socket.socket, data: bytes, *, end: bool) -> bytes:
        """Sends `data` (and FIN), returns what arrives until as much, or the FIN, is there."""
        got = bytearray()
        left = memoryview(data)
        ended = False

        def done() -> bool:
            nonlocal left, ended, end
            with contextlib.suppress(BlockingIOError):
                while left:
                    left = left[sender.send(left) :]
                if end:
                    sender.shutdown(socket.SHUT_WR)
                    end = False
            with contextlib.suppress(BlockingIOError):
                while True:
                    piece = receiver.recv(1 << 20)
                    got.extend(piece)
                    if not piece:
                        ended = True
                        break
            return ended or (not end and len(got) >= len(data) and not expect_end)

        expect_end = end
        self.boxes.until(done)
        return bytes(got)

    def close(self) -> None:
        self.client.close()
        if self.server is not None:
            self.server.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def reset_seen(sock: socket.socket) -> bool:
    try:
        return sock.recv(1 << 20) == b"?"
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 4097, 300_000, 5_000_000])
def test_bytes_arrive_in_both_directions_with_half_close(
    boxes: Any, listener: socket.socket, size: int
) -> None:
    boxes.up()
    ends = Ends(boxes, listener)
    up, down = noise(size, 1), noise(size, 2)
    server = ends.accept()
    assert ends.move(ends.client, server, up, end=True) == up
    assert ends.move(server, ends.client, down, end=True) == down
    boxes.until(lambda: not boxes.peers["branch"].flows and not boxes.peers["dc"].flows)
    assert boxes.peers["dc"].finished["flows"] == boxes.peers["branch"].finished["flows"] == 1
    ends.close()


@pytest.mark.parametrize(("mark", "rule", "seen"), [(10, None, 10), (0, None, 0), (10, 46, 46), (46, 0, 0)])
def test_a_mark_crosses_unless_a_rule_has_another(
    boxes: Any, listener: socket.socket, mark: int, rule: int | None, seen: int
) -> None:
    boxes.up()
    boxes.mark = mark
    client = boxes.connect(listener.getsockname(), policy.Match("rule", dscp=rule))
    boxes.until(lambda: boxes.peers["dc"].flows)
    assert boxes.boxes["dc"].dscp == seen
    flows = [flow for peer in boxes.peers.values() for flow in peer.flows.values()]
    assert [flow.weight for flow in flows] == [marking.weight(seen)] * 2
    client.close()


def test_a_repeat_crosses_as_references(boxes: Any, listener: socket.socket) -> None:
    boxes.up()
    data = noise(3_000_000)
    sent = []
    for _ in range(2):
        before = describe(boxes.peers["dc"])["wan_out"]
        ends = Ends(boxes, listener)
        assert ends.move(ends.accept(), ends.client, data, end=True) == data
        ends.close()
        sent.append(describe(boxes.peers["dc"])["wan_out"] - before)
    assert sent[0] > len(data)
    assert sent[1] < len(data) / 100


def test_a_slow_link_gets_short_blocks(
    boxes: Any, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing overtakes a block that has been made: it may hold up the link for so long, and no longer."""
    boxes.up()
    ends = Ends(boxes, listener)
    server = ends.accept()
    lane = boxes.peers["dc"].attachment.lanes[Role.BULK]
    lane.pace = 1_000_000
    sizes: list[int] = []

    def tap(source: Lane, sent: bool, kind: int, body: bytes) -> None:
        if source is lane and sent and kind == Kind.BLOCK:
            sizes.append(len(body))

    monkeypatch.setattr(Lane, "tap", tap)
    data = noise(600_000)
    assert ends.move(server, ends.client, data, end=False) == data
    short = bulk.QUEUE_S * lane.pace
    assert max(sizes) < short + 200
    assert len(sizes) >= len(data) // short
    sizes.clear()
    data = bytes(3_000_000)
    assert ends.move(server, ends.client, data, end=False) == data
    assert len(sizes) < len(data) // short, "what compresses well fits into longer ones"
    ends.close()


def test_a_reset_of_one_end_reaches_the_other(boxes: Any, listener: socket.socket) -> None:
    boxes.up()
    ends = Ends(boxes, listener)
    server = ends.accept()
    assert ends.move(ends.client, server, b"hello", end=False) == b"hello"
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    server.close()
    boxes.until(lambda: reset_seen(ends.client))
    boxes.until(lambda: not boxes.peers["branch"].flows and not boxes.peers["dc"].flows)
    ends.client.close()


def test_a_closed_port_becomes_a_reset_and_is_remembered(boxes: Any) -> None:
    boxes.up()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()
    client = boxes.connect(closed)
    boxes.until(lambda: reset_seen(client))
    assert boxes.boxes["branch"].refused == [closed]
    client.close()


@pytest.mark.parametrize("role", list(Role))
def test_a_flow_outlives_its_lanes(boxes: Any, listener: socket.socket, role: Role) -> None:
    boxes.up()
    data = noise(8_000_000)
    ends = Ends(boxes, listener)
    server = ends.accept()
    branch = boxes.peers["branch"]
    for start in range(0, len(data), 2_000_000):
        server.send(data[start : start + 100_000])
        boxes.loop.round()
        branch.attachment.lanes[role].close("cut by the test")
        boxes.up()
        rest = ends.move(server, ends.client, data[start + 100_000 : start + 2_000_000], end=False)
        assert rest == data[start : start + len(rest)]
        more = 2_000_000 - len(rest)
        if more:
            assert ends.move(server, ends.client, b"", end=False) == b""
            got = bytearray()

            def arrived(got: bytearray = got, more: int = more) -> bool:
                with contextlib.suppress(BlockingIOError):
                    got.extend(ends.client.recv(1 << 20))
                return len(got) == more

            boxes.until(arrived)
            assert got == data[start + len(rest) : start + 2_000_000]
    assert not boxes.peers["dc"].finished["aborted"]
    ends.close()


@pytest.mark.parametrize("name", ["branch", "dc"])
def test_a_restart_of_either_box_resets_the_flows_and_new_ones_work(
    boxes: Any, listener: socket.socket, name: str
) -> None:
    boxes.up()
    ends = Ends(boxes, listener)
    server = ends.accept()
    assert ends.move(ends.client, server, b"hello", end=False) == b"hello"
    boxes.kill(name)
    boxes.start(name)
    boxes.until(lambda: reset_seen(ends.client))
    boxes.until(lambda: reset_seen(server))
    boxes.up()
    again = Ends(boxes, listener)
    assert again.move(again.client, again.accept(), noise(500_000), end=True) == noise(500_000)
    again.close()
    ends.close()


@pytest.mark.parametrize(
    "frame",
    [
        frames.frame(Kind.OPEN, b"\x00"),
        frames.open_stream(Open(1, ("127.0.0.1", 1), ("127.0.0.1", 2), 0, True)),
        frames.frame(Kind.CREDIT, b""),
        frames.frame(Kind.NAK, b"\x00"),
        frames.ack(1_000_000),
        frames.data(0, 1 << 40, 0, b"\x00x"),
        b"\x80\xff\xff\xff\x00",
        b"\x05\x3f1234",
        frames.frame(Kind.HELLO, b"{}"),
    ],
)
def test_nonsense_closes_the_lane_and_hurts_no_flow(
    boxes: Any, listener: socket.socket, frame: bytes
) -> None:
    boxes.up()
    ends = Ends(boxes, listener)
    server = ends.accept()
    boxes.peers["branch"].attachment.lanes[Role.EXPRESS].send(frame)
    boxes.until(lambda: any(kind == "lane.protocol" for kind, _ in boxes.boxes["dc"].events))
    boxes.up()
    assert ends.move(ends.client, server, b"still here", end=False) == b"still here"
    ends.close()


def test_a_block_in_the_cache_of_another_domain_ends_the_association(
    boxes: Any, listener: socket.socket
) -> None:
    boxes.up()
    ends = Ends(boxes, listener)
    server = ends.accept()
    for peer in boxes.peers.values():
        peer._agreed = frozenset((0, 1))
        peer._caches[1] = peer._caches[0]
    for flow in boxes.peers["branch"].flows.values():
        flow.domain = 1
    ends.client.send(noise(100_000))
    boxes.until(lambda: any(kind == "lane.protocol" for kind, _ in boxes.boxes["dc"].events))
    boxes.until(lambda: reset_seen(server))
    for peer in boxes.peers.values():
        del peer._caches[1]
    ends.close()


def test_a_peer_reaches_only_this_sites_hosts(boxes: Any) -> None:
    boxes.up()
    client = boxes.connect(("10.9.9.9", 80))
    boxes.until(lambda: reset_seen(client))
    assert any("outside this site's prefixes" in text for _, text in boxes.boxes["dc"].events)
    client.close()


def test_a_site_may_change_while_flows_go_on(boxes: Any, listener: socket.socket) -> None:
    boxes.up()
    ends = Ends(boxes, listener)
    server = ends.accept()
    dc, branch = boxes.peers["dc"], boxes.peers["branch"]
    boxes.boxes["branch"].announcement = Site(["127.0.0.0/9", "10.0.0.0/8"], ["127.0.64.0/24"])
    branch.configure(branch.config, frozenset())
    boxes.until(lambda: ip_network("127.0.0.0/9") in dc.sites.extent.networks)
    assert dc.sites.extent.networks == (ip_network("127.0.0.0/9"),)
    assert dc.sites.extent.elsewhere == (ip_network("127.0.64.0/24"),)
    assert any("10.0.0.0/8, which it was not granted" in text for _, text in boxes.boxes["dc"].events)
    assert ends.move(ends.client, server, b"still here", end=True) == b"still here"
    ends.close()
    boxes.boxes["branch"].announcement = Site(["127.128.0.0/9"])
    branch.configure(branch.config, frozenset())
    boxes.until(lambda: ip_network("127.0.0.0/9") not in dc.sites.extent.networks)
    client = boxes.connect(listener.getsockname())
    boxes.until(lambda: reset_seen(client))
    assert any("not of its own site" in text for _, text in boxes.boxes["dc"].events)
    client.close()


def test_a_box_with_another_key_is_refused_on_both_sides(boxes: Any, tmp_path: Path) -> None:
    boxes.up()
    boxes.kill("branch")
    boxes.keys["branch"] = identity.create(tmp_path / "other.key")
    boxes.start("branch")
    boxes.until(lambda: any("not one that is pinned here" in text for _, text in boxes.boxes["dc"].events))
    branch = boxes.peers["branch"].attachment
    boxes.until(lambda: "does not accept this box's key" in branch.reason)
    assert not branch.up


def test_boxes_without_a_common_version_part_and_meet_after_the_update(
    boxes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes.up()
    boxes.kill("branch")
    for name in ("VERSION", "OLDEST_VERSION"):
        monkeypatch.setattr(f"appliance.lanes.attachment.{name}", frames.VERSION + 1)
    boxes.start("branch")
    for name in ("branch", "dc"):
        boxes.until(lambda name=name: boxes.peers[name].attachment.state == "other_version")
        text = next(text for kind, text in boxes.boxes[name].events if kind == "peer.other_version")
        assert f"the peer speaks versions {frames.VERSION + 1} to {frames.VERSION + 1}" in text
        assert "update this box" in text
        assert reasons.of_peer(boxes.peers[name].attachment.state) == reasons.PEER_VERSION
    monkeypatch.undo()
    boxes.up()


def test_a_slow_reader_stalls_only_itself_and_memory_stays_bounded(
    boxes: Any, listener: socket.socket
) -> None:
    boxes.up()
    slow, quick = Ends(boxes, listener), None
    server = slow.accept()
    data = noise(40_000_000)
    left = memoryview(data)

    def full() -> bool:
        nonlocal left
        with contextlib.suppress(BlockingIOError):
            while left:
                left = left[server.send(left) :]
        return bool(boxes.peers["dc"].flows[0].sender.room == 0)

    boxes.until(full)
    taken = len(data) - len(left)
    assert taken < len(data)
    quick = Ends(boxes, listener)
    assert quick.move(quick.accept(), quick.client, noise(3_000_000, 5), end=True) == noise(3_000_000, 5)
    got = bytearray()

    def drained() -> bool:
        nonlocal left
        with contextlib.suppress(BlockingIOError):
            while left:
                left = left[server.send(left) :]
        with contextlib.suppress(BlockingIOError):
            got.extend(slow.client.recv(1 << 20))
        return len(got) == len(data)

    boxes.until(drained)
    assert got == data
    slow.close()
    quick.close()


def test_a_block_that_arrives_damaged_is_sent_again(boxes: Any, listener: socket.socket) -> None:
    boxes.up()
    ends = Ends(boxes, listener)
    server = ends.accept()
    bulk = boxes.peers["branch"]._blocks
    honest = bulk._process
    damaged: set[int] = set()

    def process(kind: int, body: bytes) -> None:
        offset = frames.read_data(body)[1] if kind == Kind.BLOCK else 0
        if (
            kind == Kind.BLOCK and len(damaged) < 3 and offset not in damaged
        ):  # what is sent again arrives whole
            damaged.add(offset)
            body = body[:-1] + bytes([body[-1] ^ 1])
        honest(kind, body)

    bulk._process = process
    data = noise(2_000_000)
    assert ends.move(server, ends.client, data, end=True) == data
    assert len(damaged) == 3
    assert boxes.peers["branch"].bad_blocks >= 3
    # And both logs still agree: the same bytes again need no NAK.
    bad = boxes.peers["branch"].bad_blocks
    again = Ends(boxes, listener)
    assert again.move(again.accept(), again.client, data, end=True) == data
    assert boxes.peers["branch"].bad_blocks == bad
    again.close()
    ends.close()


def test_when_memory_is_short_the_slowest_reader_is_given_up(boxes: Any, listener: socket.socket) -> None:
    boxes.up()
    branch = boxes.boxes["branch"]
    branch.buffers.limit = 800_000
    slow, quick = Ends(boxes, listener), None
    server = slow.accept()
    left = memoryview(noise(20_000_000))

    def given_up() -> bool:
        nonlocal left
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while left:
                left = left[server.send(left) :]
        return any(kind == "flow.memory" for kind, _ in branch.events)

    boxes.until(given_up)
    boxes.until(lambda: reset_seen(server))
    assert branch.buffers.unread == 0
    quick = Ends(boxes, listener)
    assert quick.move(quick.accept(), quick.client, noise(300_000), end=True) == noise(300_000)
    slow.close()
    quick.close()


@pytest.mark.parametrize("limit", [1, 1 << 20])
def test_uploads_share_few_buffers(boxes: Any, listener: socket.socket, limit: int) -> None:
    boxes.up()
    boxes.boxes["branch"].buffers.limit = limit
    flows = [Ends(boxes, listener) for _ in range(5)]
    servers = [ends.accept() for ends in flows]
    by_port = {server.getpeername()[1]: server for server in servers}
    assert len(by_port) == 5
    data = noise(900_000)
    for ends, server in zip(flows, servers, strict=True):
        ends.client.send(data[:50_000])  # every flow wants a buffer at the same time
        assert server is not None
    got = [bytearray() for _ in servers]

    def arrived() -> bool:
        for sock, into in zip(servers, got, strict=True):
            with contextlib.suppress(BlockingIOError):
                into.extend(sock.recv(1 << 20))
        return sum(map(len, got)) == 5 * 50_000

    boxes.until(arrived)
    assert all(into == data[:50_000] for into in got)
    boxes.until(lambda: boxes.boxes["branch"].buffers.taken == 0)
    for ends in flows:
        ends.close()


def test_bytes_that_were_refused_come_again_after_the_flow_has_ended_here(
    boxes: Any, listener: socket.socket
) -> None:
    """The sender has both FINs and has forgotten the flow when the NAK comes."""
    boxes.up()
    ends = Ends(boxes, listener)
    server = ends.accept()
    ends.client.shutdown(socket.SHUT_WR)
    boxes.until(lambda: ended(server))
    bulk = boxes.peers["branch"]._blocks
    honest, held = bulk._process, []
    bulk._process = lambda kind, body: held.append((kind, body))
    data = noise(200_000)
    server.sendall(data)
    server.shutdown(socket.SHUT_WR)
    boxes.until(lambda: not boxes.peers["dc"].flows and any(kind == Kind.BLOCK for kind, _ in held))
    bulk._process = honest
    for kind, body in held:
        honest(kind, body[:-1] + bytes([body[-1] ^ 1]) if kind == Kind.BLOCK else body)
    boxes.until(lambda: boxes.peers["branch"].bad_blocks)
    got = bytearray()

    def arrived() -> bool:
        with contextlib.suppress(BlockingIOError):
            got.extend(ends.client.recv(1 << 20))
        return len(got) == len(data)

    boxes.until(arrived)
    assert got == data
    boxes.until(lambda: ended(ends.client))
    ends.close()


def ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


def test_damaged_blocks_in_both_directions_stop_nothing(boxes: Any, listener: socket.socket) -> None:
    """ACKs of one direction and NAKs of the other travel together, and keep their order."""
    boxes.up()
    ends = Ends(boxes, listener)
    server = ends.accept()
    chance = random.Random(7)
    seen: set[tuple[int, int]] = set()
    for peer in boxes.peers.values():
        honest = peer._blocks._process

        def process(kind: int, body: bytes, honest: Callable[[int, bytes], None] = honest) -> None:
            if kind == Kind.BLOCK:
                place = id(honest), frames.read_data(body)[1]
                if place not in seen and chance.random() < 0.2:  # what is sent again arrives whole
                    body = body[:-1] + bytes([body[-1] ^ 1])
                seen.add(place)
            honest(kind, body)

        peer._blocks._process = process
    up, down = noise(4_000_000, 1), noise(4_000_000, 2)
    left = {server: memoryview(down), ends.client: memoryview(up)}
    got: dict[socket.socket, bytearray] = {server: bytearray(), ends.client: bytearray()}

    def both_arrived() -> bool:
        for sock in left:
            with contextlib.suppress(BlockingIOError):
                while left[sock]:
                    left[sock] = left[sock][sock.send(left[sock]) :]
            with contextlib.suppress(BlockingIOError):
                got[sock].extend(sock.recv(1 << 20))
        return len(got[server]) == len(up) and len(got[ends.client]) == len(down)

    boxes.until(both_arrived)
    assert got == {server: up, ends.client: down}
    assert all(peer.bad_blocks for peer in boxes.peers.values())
    ends.close()


@pytest.mark.parametrize(
    "body",
    [
        b'{"x":' + b"[" * 50_000,
        frames.hello(Hello(1, 1, "branch", 9, [9, 1], 0, offers={"0": b"nonsense"}))[3:],
        frames.hello(Hello(1, 1, "branch", 9, [9, 1], 0))[2:],
        frames.hello(Hello(1, 1, "branch", 9, [1 << 100, 1], 0))[2:],
    ],
)
def test_a_hello_that_makes_no_sense_hurts_nobody(boxes: Any, listener: socket.socket, body: bytes) -> None:
    boxes.up()
    dc = boxes.peers["dc"].attachment
    lane = next(iter(dc.lanes.values()))
    role, lane.greeted = lane.role, False  # as if this lane were new
    del dc.lanes[role]
    dc._expect_hello(lane)
    with contextlib.suppress(ProtocolError):
        dc.lane_frame(lane, Kind.HELLO, body)
    lane.close("the test is over")
    boxes.until(lambda: boxes.peers["branch"].attachment.up and dc.up)
    ends = Ends(boxes, listener)
    assert ends.move(ends.client, ends.accept(), noise(300_000), end=True) == noise(300_000)
    ends.close()


def test_a_stranger_who_hangs_up_at_once_hurts_nobody(boxes: Any, listener: socket.socket) -> None:
    boxes.up()
    for _ in range(30):
        stranger = socket.create_connection(("127.0.0.1", boxes.port))
        stranger.send(b"abc")
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        stranger.close()
        boxes.loop.round()
    ends = Ends(boxes, listener)
    assert ends.move(ends.client, ends.accept(), b"still here", end=True) == b"still here"
    ends.close()


def test_a_bulk_lane_that_has_gone_deaf_is_replaced(boxes: Any, listener: socket.socket) -> None:
    """As behind a NAT that has forgotten it: open at both ends, and nothing comes through."""
    boxes.up()
    deaf = [peer.attachment.lanes[Role.BULK] for peer in boxes.peers.values()]
    for lane in deaf:
        boxes.loop._callbacks[lane._fd] = lambda _events: None
    ends = Ends(boxes, listener)
    assert ends.move(ends.accept(), ends.client, noise(300_000), end=True) == noise(300_000)
    assert all(lane.closed for lane in deaf)
    ends.close()


def test_blocks_that_arrive_before_their_stream_is_opened_are_kept(
    boxes: Any, listener: socket.socket
) -> None:
    """The OPEN travels over the express lane, which may lose a packet while the bulk lane does not."""
    boxes.up()
    dc = boxes.peers["dc"]
    honest, held = dc._frame, []
    dc._frame = lambda kind, body: held.append((kind, body))
    ends = Ends(boxes, listener)
    data = noise(600_000)
    left = memoryview(data)

    def all_held_back() -> bool:
        nonlocal left
        with contextlib.suppress(BlockingIOError):
            while left:
                left = left[ends.client.send(left) :]
        return not left and dc._blocks._early_bytes >= len(data)

    boxes.until(all_held_back)
    dc._frame = honest
    for kind, body in held:
        honest(kind, body)
    assert ends.move(ends.client, ends.accept(), b"", end=True) == data
    assert dc._blocks._early_bytes == 0
    ends.close()
