"""Who has not proved who they are share what room there is for them."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import identity
from appliance.lanes.reception import Reception
from appliance.loop import Loop

MOST = 8  # of which a quarter is for each neighbourhood


class Door:
    """A reception to which connections come that say nothing."""

    def __init__(self, directory: Path) -> None:
        self.refused: list[tuple[str, str]] = []
        self.loop = Loop()
        self.reception = Reception(
            self.loop, lambda _lane: False, lambda *refusal: self.refused.append(refusal), MOST
        )
        own = identity.create(directory / "box.key")
        self.reception.context = identity.tls_context(server_side=True, identity=own, peer_certs=[])
        self._clients: list[socket.socket] = []

    def come(self, host: str) -> bool:
        """Whether one who comes from there is let try."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._clients.append(socket.create_connection(listener.getsockname()))
            accepted, _ = listener.accept()
        accepted.setblocking(False)
        self.reception.admit(accepted, host, f"{host} 40000")
        return accepted.fileno() >= 0

    def close(self) -> None:
        self.reception.close()
        for client in self._clients:
            client.close()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    door = Door(tmp_path)
    yield door
    door.close()


@pytest.mark.parametrize(
    ("near", "far"),
    [
        (["192.0.2.1"] * 3, "192.0.2.2"),
        (["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"], "2001:db8:0:1::1"),
        (["fe80::1%lo", "fe80::2", "fe80::3%lo"], "fd00::1"),
    ],
)
def test_one_network_cannot_take_the_room_of_others(door: Door, near: list[str], far: str) -> None:
    assert [door.come(host) for host in near] == [True, True, False]
    assert door.come(far)
    assert door.refused == [(near[-1], "too many at once")]


def test_all_together_have_a_limit(door: Door) -> None:
    hosts = [f"192.0.2.{number}" for number in range(MOST + 1)]
    assert [door.come(host) for host in hosts] == [True] * MOST + [False]
