"""This tree talks to every release of which a session was recorded, whichever of the two dials."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from appliance import identity
from appliance.lanes.lane import Lane
from appliance.lanes.link import Role
from appliance.lanes.reception import Reception
from tests.unit.recorded.recording import DIRECTORY, Recording, digest, read, turns
from tests.unit.recorded.replay import Replay

RECORDINGS = sorted(DIRECTORY.glob("*.jsonl"))


@pytest.fixture(params=RECORDINGS, ids=[path.stem for path in RECORDINGS])
def recording(request: pytest.FixtureRequest) -> Recording:
    found = read(request.param)
    assert found.digest == digest(), "what the end hosts said then"
    return found


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


class EndHost:
    """Says its part of a flow, and listens."""

    def __init__(self, sock: socket.socket, says: bytes) -> None:
        sock.setblocking(False)
        self.heard = bytearray()
        self._sock = sock
        self._left = memoryview(says)
        self._said = False

    def hears_all(self) -> bool:
        """Goes on; whether the other end has said everything."""
        with contextlib.suppress(BlockingIOError):
            while self._left:
                self._left = self._left[self._sock.send(self._left) :]
            if not self._said:
                self._sock.shutdown(socket.SHUT_WR)
                self._said = True
        with contextlib.suppress(BlockingIOError):
            while piece := self._sock.recv(1 << 20):
                self.heard += piece
            self._sock.close()
            return True
        return False


def test_a_branch_of_an_older_release_is_understood(
    boxes: Any, listener: socket.socket, recording: Recording
) -> None:
    boxes.kill("branch")
    boxes.boxes["dc"].dial = lambda _client, _server, _source, _dscp: connecting(listener.getsockname())
    context = identity.tls_context(
        server_side=False, identity=boxes.keys["branch"], peer_certs=[boxes.keys["dc"].certificate]
    )
    old = Replay(recording, "branch")
    for role in Role:
        sock = connecting(("127.0.0.1", boxes.port))
        Lane(boxes.loop, sock, context, old, dialler=True, remote="dc").role = role
    for turn in turns():
        server: list[socket.socket] = []

        def accepted(server: list[socket.socket] = server) -> bool:
            with contextlib.suppress(BlockingIOError):
                server.append(listener.accept()[0])
            return bool(server)

        boxes.until(accepted)
        end_host = EndHost(server[0], turn.down)
        boxes.until(end_host.hears_all)
        assert end_host.heard == turn.up
    check(boxes, "dc", old)


def test_a_centre_of_an_older_release_is_understood(boxes: Any, recording: Recording) -> None:
    boxes.kill("dc")
    old = Replay(recording, "dc")
    reception = Reception(boxes.loop, old.take, lambda _remote, reason: old.trouble.append(reason), 8)
    reception.listen((("127.0.0.1", boxes.port),))
    reception.context = identity.tls_context(
        server_side=True, identity=boxes.keys["dc"], peer_certs=[boxes.keys["branch"].certificate]
    )
    try:
        boxes.until(lambda: boxes.peers["branch"].attachment.up)
        for turn in turns():
            client = EndHost(boxes.connect(("127.0.0.1", 5)), turn.up)
            boxes.until(client.hears_all)
            assert client.heard == turn.down
        check(boxes, "branch", old)
    finally:
        reception.close()


def connecting(address: tuple[str, int]) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        sock.connect(address)
    return sock


def check(boxes: Any, name: str, old: Replay) -> None:
    """Everything was said and understood."""
    peer = boxes.peers[name]
    boxes.until(lambda: old.done and peer.finished["flows"] == len(turns()))
    assert peer.finished["aborted"] == peer.bad_blocks == 0
    assert old.trouble == []
