"""Two peers over two paths: real lanes over loopback, through relays that can be silenced as a dead WAN is."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from appliance.config import Path as WanPath
from appliance.config.values import Endpoint
from appliance.intercept.backoff import BackOff
from appliance.lanes import frames
from appliance.lanes.link import Role
from appliance.lanes.standing import State
from appliance.lanes.watch import Health
from tests.unit.test_peer import Ends, noise, reset_seen

__all__ = ["listener"]


class Wan:
    """One path: forwards connections to the data centre's port until it is cut; then it swallows everything. While
    it is slow, everything waits."""

    def __init__(self, boxes: Any) -> None:
        self.is_cut = False
        self.is_slow = False
        self._boxes = boxes
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        boxes.loop.register(self._listener.fileno(), 1, self._accept)

    def _accept(self, _events: int) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._boxes.port))
        for sock in (near, far):
            sock.setblocking(False)
        self._pairs.append((near, far))
        self._boxes.loop.register(near.fileno(), 1, lambda _events: self._move(near, far))
        self._boxes.loop.register(far.fileno(), 1, lambda _events: self._move(far, near))

    def _move(self, source: socket.socket, target: socket.socket) -> None:
        if self.is_slow:
            return
        with contextlib.suppress(BlockingIOError, ConnectionError):
            data = source.recv(1 << 16)
            if data and not self.is_cut:
                target.setblocking(True)
                target.sendall(data)
                target.setblocking(False)
                return
            if data:
                return
        if not self.is_cut:
            self._close(source)
            self._close(target)
        else:
            self._boxes.loop.unregister(source.fileno())

    def _close(self, sock: socket.socket) -> None:
        if sock.fileno() >= 0:
            self._boxes.loop.unregister(sock.fileno())
            sock.close()

    def kill(self) -> None:
        """Every connection over the path is reset."""
        for pair in self._pairs:
            for sock in pair:
                if sock.fileno() >= 0:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                    self._close(sock)
        self._pairs.clear()

    def close(self) -> None:
        self.kill()
        self._boxes.loop.unregister(self._listener.fileno())
        self._listener.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


@pytest.fixture
def wans(boxes: Any) -> Iterator[list[Wan]]:
    made = [Wan(boxes), Wan(boxes)]
    boxes.restart_over([wan.port for wan in made])
    yield made
    for wan in made:
        wan.close()


def used(boxes: Any) -> str:
    return str(boxes.peers["branch"].attachment.choice.used)


def health(boxes: Any, name: str) -> Health:
    found: Health = boxes.peers["branch"].attachment.choice.paths[name].health
    return found


def stand_by(boxes: Any) -> None:
    """Waits until both paths have all their lanes."""
    boxes.until(lambda: all(path.ready for path in boxes.peers["branch"].attachment.paths.values()))


def test_flows_move_to_the_other_path_and_back(boxes: Any, wans: list[Wan], listener: socket.socket) -> None:
    ends = Ends(boxes, listener)
    server = ends.accept()
    for turn in range(2):
        stand_by(boxes)
        before = int(used(boxes)[1:])
        data = noise(3_000_000, turn)
        server.send(data[:100_000])
        boxes.loop.round()
        wans[before].is_cut = True
        rest = ends.move(server, ends.client, data[100_000:], end=False)
        got = bytearray(rest)

        def arrived(got: bytearray = got, size: int = len(data)) -> bool:
            with contextlib.suppress(BlockingIOError):
                got.extend(ends.client.recv(1 << 20))
            return len(got) == size

        boxes.until(arrived)
        assert got == data
        assert used(boxes) == f"p{1 - before}"
        assert boxes.peers["branch"].attachment.up
        wans[before].kill()
        wans[before].is_cut = False
    assert boxes.peers["branch"].attachment.switches == 2
    assert not any(peer.finished["aborted"] for peer in boxes.peers.values())
    kinds = [kind for kind, _ in boxes.boxes["branch"].events]
    assert kinds.count("path.down") >= 2
    assert "peer.path_down" not in kinds
    ends.close()


@pytest.mark.parametrize("dead", [True, False])
def test_what_is_small_goes_over_both_paths_while_one_is_suspect(
    boxes: Any, wans: list[Wan], listener: socket.socket, monkeypatch: pytest.MonkeyPatch, dead: bool
) -> None:
    """Whether that path comes back or not, every byte arrives once."""
    monkeypatch.setattr("appliance.lanes.watch.MISSES", 10_000)  # it is suspected, and never given up,
    monkeypatch.setattr("appliance.lanes.tending.LOST", 10_000)  # nor is its lane
    # The relay's kernel answers, cut or not.
    monkeypatch.setattr("appliance.lanes.watch.PathWatch.asking", False)
    ends = Ends(boxes, listener)
    server = ends.accept()
    assert ends.move(ends.client, server, b"before", end=False) == b"before"
    stand_by(boxes)
    branch = boxes.peers["branch"].attachment
    before, carried = used(boxes), branch.lanes[Role.EXPRESS]
    wan = wans[int(before[1:])]
    wan.is_cut, wan.is_slow = dead, not dead
    for turn in range(10):
        word = b"word %d" % turn
        assert ends.move(ends.client, server, word, end=False) == word
        assert ends.move(server, ends.client, word, end=False) == word
    assert used(boxes) == before
    assert branch.lanes[Role.EXPRESS] is carried
    assert branch.hedging.count
    if dead:
        wan.kill()
    wan.is_cut = wan.is_slow = False
    data = noise(300_000)
    assert ends.move(server, ends.client, data, end=False) == data
    assert ends.move(ends.client, server, data, end=False) == data
    boxes.until(lambda: not branch.choice.hedge)
    assert (branch.lanes.get(Role.EXPRESS) is carried) is not dead
    assert not any(kind == "lane.protocol" for box in boxes.boxes.values() for kind, _ in box.events)
    ends.close()


def test_large_packets_are_tried_again_after_a_while(
    boxes: Any, wans: list[Wan], listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A box that was busy may have taken the path for one that swallows them."""
    monkeypatch.setattr("appliance.lanes.path.SMALL_MARGIN_S", 0.1)
    ends = Ends(boxes, listener)
    server = ends.accept()
    stand_by(boxes)
    both = [boxes.peers[name].attachment.paths[used(boxes)] for name in ("branch", "dc")]
    for path in both:
        path._small_for = BackOff(0.5)
    lanes = set(both[0].lanes.values())
    both[1].use_small()
    boxes.peers["dc"].attachment.lanes[Role.BULK].close("its large packets are lost")
    boxes.until(lambda: both[0].small and both[0].ready and not lanes & set(both[0].lanes.values()))
    lanes = set(both[0].lanes.values())
    boxes.until(lambda: not both[0].small and both[0].ready and not lanes & set(both[0].lanes.values()))
    assert not any(path.small for path in both)
    assert ends.move(server, ends.client, b"large again", end=False) == b"large again"
    ends.close()


def test_a_cut_of_everything_keeps_the_flows_and_says_path_down(
    boxes: Any, wans: list[Wan], listener: socket.socket
) -> None:
    ends = Ends(boxes, listener)
    server = ends.accept()
    stand_by(boxes)
    for wan in wans:
        wan.is_cut = True
    branch, dc = (boxes.peers[name].attachment for name in ("branch", "dc"))
    boxes.until(lambda: not branch.up and not dc.up)
    server.send(b"during")
    for wan in wans:
        wan.kill()
        wan.is_cut = False
    assert ends.move(ends.client, server, b"after", end=False) == b"after"
    got = bytearray()

    def arrived() -> bool:
        with contextlib.suppress(BlockingIOError):
            got.extend(ends.client.recv(100))
        return got == b"during"

    boxes.until(arrived)
    boxes.up()
    ends.close()


def test_a_peer_that_hangs_is_silent_and_its_path_is_not_down(boxes: Any, wans: list[Wan]) -> None:
    """Its kernel goes on answering; with one loop for both, its data plane hangs by neither reading nor asking."""
    branch, dc = boxes.peers["branch"].attachment, boxes.peers["dc"].attachment
    stand_by(boxes)
    for lane in dc._all_lanes():
        boxes.loop.unregister(lane._fd)
    dc._timer.cancel()
    boxes.until(lambda: branch.state is State.SILENT)
    assert "its host answers" in branch.reason
    assert all(watch.usable for watch in branch.choice.paths.values())


@pytest.mark.parametrize("linger", [bytes(8), b"\1\0\0\0\0\0\0\0"], ids=["closed", "reset"])
def test_a_host_that_hangs_up_during_the_handshake_is_down_and_its_path_is_not(
    boxes: Any, linger: bytes
) -> None:
    """So a host answers whose data plane is just ending: the kernel has accepted what nobody will take."""
    boxes.up()
    branch = boxes.peers["branch"].attachment
    boxes.kill("dc")
    states = set()
    turns = 0

    def hang_up(_events: int) -> None:
        nonlocal turns
        sock, _ = listening.accept()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        sock.close()
        turns += 1

    def hung_up() -> bool:
        states.add(branch.state)
        assert branch.reason or branch.up
        return turns > 2 * len(Role)

    with socket.create_server(("127.0.0.1", boxes.port)) as listening:
        boxes.loop.register(listening.fileno(), 1, hang_up)
        boxes.until(hung_up)
        boxes.loop.unregister(listening.fileno())
    assert branch.state is State.DOWN
    assert State.PATH_DOWN not in states


def test_the_endpoints_of_a_path_are_tried_in_turn(boxes: Any) -> None:
    """Also by two lanes that are refused at the same moment; and one refusal of two is no answer of the peer's."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()[1]
    boxes.kill("branch")
    endpoints = tuple(Endpoint(f"127.0.0.1:{port}") for port in (nobody, boxes.port))
    boxes.paths = (WanPath(dial=endpoints),)
    boxes.start("branch")
    (path,) = boxes.peers["branch"].attachment.paths.values()
    refused = set()

    def up() -> bool:
        refused.add(path.refused)
        return bool(path.ready)

    boxes.until(up)
    assert refused == {False}


def test_streams_that_nobody_comes_back_for_are_reset_on_both_sides(
    boxes: Any, wans: list[Wan], listener: socket.socket
) -> None:
    ends = Ends(boxes, listener)
    server = ends.accept()
    assert ends.move(ends.client, server, b"hello", end=False) == b"hello"
    for box in boxes.boxes.values():
        box.hold(1.0)
    for wan in wans:
        wan.is_cut = True
    boxes.until(lambda: reset_seen(ends.client))
    boxes.until(lambda: reset_seen(server))
    for wan in wans:
        wan.kill()
        wan.is_cut = False
    boxes.up()
    again = Ends(boxes, listener)
    assert again.move(again.client, again.accept(), b"anew", end=True) == b"anew"
    again.close()
    ends.close()


@pytest.mark.parametrize("role", list(Role))
def test_a_killed_connection_is_replaced(
    boxes: Any, wans: list[Wan], listener: socket.socket, role: Role
) -> None:
    ends = Ends(boxes, listener)
    server = ends.accept()
    stand_by(boxes)
    for turn in range(5):
        boxes.peers["dc"].attachment.lanes[role].close("killed by the test")
        data = noise(20_000, turn)
        assert ends.move(server, ends.client, data, end=False) == data[: len(data)]
        boxes.up()
        stand_by(boxes)
    assert not any(peer.finished["aborted"] for peer in boxes.peers.values())
    ends.close()


def test_while_no_path_is_up_flows_are_held_up_and_memory_is_bounded(
    boxes: Any, wans: list[Wan], listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.peer.EXPRESS_HELD", 20_000)
    flows = [Ends(boxes, listener) for _ in range(20)]
    for ends in flows:
        ends.accept()
    stand_by(boxes)
    for wan in wans:
        wan.is_cut = True
    boxes.until(lambda: not boxes.peers["branch"].attachment.up)
    branch, buffers = boxes.peers["branch"], boxes.boxes["branch"].buffers
    buffers.limit = 8 << 20
    wanted = [noise(1_000_000, number) for number in range(len(flows))]
    left = [memoryview(data) for data in wanted]
    for at, ends in enumerate(flows):  # a message each: more than may be held
        left[at] = left[at][ends.client.send(left[at][:2000]) :]
    boxes.until(lambda: branch.congested)

    def send() -> int:
        """Bytes that the end hosts could send in this round."""
        taken = 0
        for at, ends in enumerate(flows):
            with contextlib.suppress(BlockingIOError):
                while left[at]:
                    count = ends.client.send(left[at])
                    left[at], taken = left[at][count:], taken + count
        return taken

    boxes.until(lambda: not send() and not branch.buffers.available)
    assert branch._express.held_bytes < 20_000 + 20 * 5000, "one message of each flow may come on top"
    assert buffers.held == branch._express.held_bytes
    assert buffers.taken * frames.MAX_BLOCK + buffers.held <= buffers.limit // 2
    assert not branch.finished["aborted"]
    for wan in wans:
        wan.kill()
        wan.is_cut = False
    by_port = {ends.server.getpeername()[1]: ends for ends in flows if ends.server}
    assert len(by_port) == len(flows)
    got = {ends: bytearray() for ends in flows}

    def arrived() -> bool:
        send()
        for ends, into in got.items():
            assert ends.server is not None
            with contextlib.suppress(BlockingIOError):
                into.extend(ends.server.recv(1 << 20))
        return sum(map(len, got.values())) == sum(map(len, wanted))

    boxes.until(arrived)
    assert sorted(map(bytes, got.values())) == sorted(wanted)
    assert not any(peer.finished["aborted"] for peer in boxes.peers.values())
    for ends in flows:
        ends.close()


def test_a_path_that_is_taken_out_of_the_configuration_hands_over(
    boxes: Any, wans: list[Wan], listener: socket.socket
) -> None:
    ends = Ends(boxes, listener)
    server = ends.accept()
    stand_by(boxes)
    branch = boxes.peers["branch"]
    other = [path for path in branch.config.paths if path.name != used(boxes)]
    branch.attachment.configure(tuple(other))
    boxes.until(lambda: used(boxes) == other[0].name)
    assert ends.move(server, ends.client, b"still here", end=False) == b"still here"
    branch.attachment.configure(branch.config.paths)
    stand_by(boxes)
    assert len(branch.attachment.paths) == 2
    ends.close()
