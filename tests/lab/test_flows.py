"""Flows through both boxes: every byte, both families, both directions, every order of ends."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from appliance.lab import Lab
from appliance.lab.pair import Box, Pair, Side
from tests.lab.exchanging import HOSTS, PORT, exchange, serving


@pytest.fixture(scope="module")
def server(module_lab: Lab) -> Iterator[None]:
    with serving(module_lab):
        yield


@pytest.fixture(scope="module")
def pair(module_lab: Lab, server: None) -> Iterator[Pair]:
    with Pair(module_lab) as pair:
        yield pair


def finished(pair: Pair) -> int:
    return int(pair.branch.call("peers")[0]["finished"])


@pytest.mark.parametrize("seed", [1, 2])
def test_two_hundred_flows_at_once_are_exact(module_lab: Lab, pair: Pair, seed: int) -> None:
    before = finished(pair)
    assert exchange(module_lab, 200, seed) == {"flows": 200, "exact": 200, "wrong": []}
    pair.branch.wait(lambda: finished(pair) == before + 200, "all flows were optimised and have ended")


def test_large_flows_in_both_directions_at_once_are_exact(module_lab: Lab, pair: Pair) -> None:
    assert exchange(module_lab, 8, 3, largest=30 << 20)["exact"] == 8


def test_flows_are_exact_over_a_bad_line(module_lab: Lab, pair: Pair) -> None:
    before = module_lab.profile
    try:
        module_lab.wan.set(rate=50e6 / 8, rtt=0.04, loss=0.01, jitter=0.005)
        assert exchange(module_lab, 50, 4, largest=200_000)["exact"] == 50
    finally:
        module_lab.wan.apply(before)


def test_the_server_sees_the_box_where_the_peer_says_so(lab: Lab) -> None:
    listen = (
        "import socket\n"
        "with socket.create_server(('10.2.0.2', 5001)) as listener:\n"
        "    print('ready', flush=True)\n"
        "    sock, address = listener.accept()\n"
        "    print(address[0], flush=True)\n"
        "    sock.sendall(sock.recv(9))\n"
    )
    server = lab.server.popen([sys.executable, "-c", listen], stdout=-1)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    with Pair(lab, dc=Side(peer={"source": "box"})):
        sock = lab.client.socket()
        sock.settimeout(10)
        sock.connect(("10.2.0.2", 5001))
        sock.sendall(b"who am I?")
        assert sock.recv(9) == b"who am I?"
        sock.close()
        assert server.stdout.readline() == b"10.2.0.1\n"
    server.wait(5)


def test_a_flow_is_listed_with_what_it_is(module_lab: Lab, pair: Pair) -> None:
    request = b"GET / HTTP/1.1\r\n"  # shorter than a head: the server waits for more, and the flow stays open
    with module_lab.client.socket() as sock:
        sock.settimeout(10)
        sock.connect((HOSTS[0], PORT))
        sock.sendall(request)
        for box in pair.boxes:
            box.wait(lambda box=box: flow_of(box, sock) is not None, "the flow is listed")  # type: ignore[misc]
            box.wait(lambda box=box: counted(box, sock) == len(request), "its bytes are counted")  # type: ignore[misc]
            box.wait(lambda box=box: measured(box, sock), "the round trips are measured")  # type: ignore[misc]
            flow = flow_of(box, sock)
            assert flow is not None
            assert (flow["application"], flow["protection"], flow["guessed"]) == ("http", "", False)
            assert flow["lane"] == "express"
            assert flow["path"] == box.call("peers")[0]["paths"][0]["name"]
            assert flow["age_s"] > 0
            assert flow["reduction"] < 1


def flow_of(box: Box, sock: socket.socket) -> dict[str, Any] | None:
    mine = list(sock.getsockname())
    return next((flow for flow in box.call("flows") if flow["client"] == mine), None)


def counted(box: Box, sock: socket.socket) -> int:
    flow = flow_of(box, sock)
    return flow["lan_in"] + flow["lan_out"] if flow else -1


def measured(box: Box, sock: socket.socket) -> bool:
    flow = flow_of(box, sock)
    return bool(flow and flow["lan_rtt_s"] and flow["wan_rtt_s"])
