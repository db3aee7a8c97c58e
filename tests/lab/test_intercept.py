"""What is intercepted, what is passed, and with which reason."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from appliance.lab import Lab
from tests.lab.plain_pair import (
    EAGER_PORT,
    FAMILIES,
    KNOWN_PORT,
    PASS_PORT,
    Pair,
    address_of,
    echoes,
    running,
    until,
)
from tests.lab.plain_relay import LANE_PORT

BOTH = pytest.mark.parametrize("family", FAMILIES, ids=["v4", "v6"])
PORTS = (EAGER_PORT, KNOWN_PORT, KNOWN_PORT + 1, PASS_PORT, LANE_PORT, 179)


@pytest.fixture(scope="module")
def pair(module_lab: Lab) -> Iterator[Pair]:
    with running(module_lab) as pair:
        for family in FAMILIES:
            for port in PORTS:
                pair.echo.listen(family, pair.server(family), port)
        yield pair


@BOTH
def test_an_eager_flow_is_intercepted_and_nobody_can_tell(pair: Pair, family: socket.AddressFamily) -> None:
    before = pair.branch.accepted
    with pair.connect(pair.server(family), EAGER_PORT) as sock:
        assert echoes(sock)
        assert sock.getpeername()[:2] == (pair.server(family), EAGER_PORT)
        assert address_of(sock) in pair.echo.seen  # its own address and port
    assert pair.branch.accepted == before + 1


@BOTH
def test_half_close(pair: Pair, family: socket.AddressFamily) -> None:
    with pair.connect(pair.server(family), EAGER_PORT) as sock:
        sock.sendall(b"x" * 100_000)
        sock.shutdown(socket.SHUT_WR)
        received = 0
        while data := sock.recv(1 << 16):
            received += len(data)
        assert received == 100_000
    assert until(lambda: any(end.client == end.client and end.clean for end in pair.echo.ended))
