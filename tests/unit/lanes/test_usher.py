"""Two processes at one address, here in one loop: a lane gets to the process that has its peer."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import identity
from appliance.lanes.usher import Usher
from appliance.loop import Loop
from appliance.spread import parts


class Ushers:
    """Two processes' ushers. `whose` is what both think of every name."""

    def __init__(self, directory: Path) -> None:
        self.loop = Loop()
        self.whose = 0
        self.admitted: list[tuple[int, socket.socket, str, str]] = []
        self.refused: list[tuple[str, str]] = []
        self.ushers = {part.number: self._usher(part.number, directory) for part in parts(2)}
        self.own = identity.create(directory / "box.key")

    def _usher(self, number: int, directory: Path) -> Usher:
        def admit(sock: socket.socket, host: str, remote: str) -> None:
            self.admitted.append((number, sock, host, remote))

        def refuse(host: str, reason: str) -> None:
            self.refused.append((host, reason))

        return Usher(self.loop, parts(2)[number - 1], directory, lambda _name: self.whose, admit, refuse)

    def come(self, number: int) -> tuple[socket.socket, bytes]:
        """A box says hello to process `number`, in pieces."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        client.setblocking(False)
        context = identity.tls_context(server_side=False, identity=self.own, peer_certs=[])
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            with context.wrap_socket(near, do_handshake_on_connect=False) as tls:
                with pytest.raises(ssl.SSLWantReadError):
                    tls.do_handshake()
                hello = far.recv(1 << 16)
        self.ushers[number].ask(accepted, "10.9.1.1", "10.9.1.1 40000")
        client.sendall(hello[:3])
        self.loop.round()
        client.sendall(hello[3:100])
        self.loop.round()
        assert not self.admitted
        client.sendall(hello[100:])
        while not self.admitted and not self.refused:
            self.loop.round()
        return client, hello


@pytest.fixture
def ushers(tmp_path: Path) -> Iterator[Ushers]:
    found = Ushers(tmp_path)
    yield found
    for usher in found.ushers.values():
        usher.close()
    for _, sock, _, _ in found.admitted:
        sock.close()


@pytest.mark.parametrize(("whose", "taken_by"), [(0, 1), (1, 1), (2, 2)])
def test_a_lane_gets_where_its_peer_is(ushers: Ushers, whose: int, taken_by: int) -> None:
    ushers.whose = whose
    client, hello = ushers.come(1)
    ((number, sock, host, remote),) = ushers.admitted
    assert (number, host, remote) == (taken_by, "10.9.1.1", "10.9.1.1 40000")
    assert sock.recv(1 << 16) == hello  # whole: nobody has taken anything of it
    sock.sendall(b"answer")
    client.setblocking(True)
    assert client.recv(9) == b"answer"
    client.close()
    assert not ushers.ushers[1].waiting()


def test_a_process_that_is_not_there_takes_nothing(ushers: Ushers) -> None:
    ushers.ushers.pop(2).close()
    ushers.whose = 2
    client, _ = ushers.come(1)
    assert not ushers.admitted
    ((host, reason),) = ushers.refused
    assert host == "10.9.1.1"
    assert "process 2" in reason
    client.close()


def test_who_hangs_up_is_forgotten(ushers: Ushers) -> None:
    near, far = socket.socketpair()
    ushers.ushers[1].ask(near, "10.9.1.1", "10.9.1.1 40000")
    assert ushers.ushers[1].waiting() == ["10.9.1.1"]
    far.close()
    while not ushers.refused:
        ushers.loop.round()
    assert not ushers.ushers[1].waiting()


@pytest.mark.parametrize("said", [b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x40\x00" + bytes(100)])
def test_who_says_half_and_hangs_up_is_let_go_at_once(ushers: Ushers, said: bytes) -> None:
    """Not looked at again and again until its time is up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    ushers.ushers[1].ask(accepted, "10.9.1.1", "10.9.1.1 40000")
    client.sendall(said)
    client.close()
    for _ in range(10):
        ushers.loop.call_later(0.02, lambda: None)  # so that a round ends
        ushers.loop.round()
    assert ushers.refused == [("10.9.1.1", "it has hung up")]


def test_the_longest_record_is_looked_at_whole(ushers: Ushers) -> None:
    """A stranger's; who it is for is decided when all of it is there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    ushers.ushers[1].ask(accepted, "10.9.1.1", "10.9.1.1 40000")
    with client:
        client.sendall(b"\x16\x03\x01\x40\x00" + bytes(16384))
        for _ in range(100):
            if ushers.admitted:
                break
            ushers.loop.call_later(0.02, lambda: None)
            ushers.loop.round()
    assert len(ushers.admitted) == 1
