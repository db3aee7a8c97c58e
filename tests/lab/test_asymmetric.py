"""A server whose answers take another way than through its box: found, passed through, said, tried again later."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from appliance.lab import Lab
from appliance.lab.pair import Pair, Side
from tests.lab.plain_pair import Echo, address_of, echoes

PORT = 5000


@pytest.fixture(scope="module")
def lab(module_lab: Lab) -> Iterator[Lab]:
    """The server has a second link, to a router that leads to the branch past the data centre's box."""
    lab = module_lab
    links = (
        (lab.server, "10.7.0.2/24", "fd07::2/64"),
        (lab.wan_host, "10.7.0.1/24", "fd07::1/64"),
    )
    made = ["ip", "link", "add", "back0", "type", "veth", "peer", "name", "back0", "netns"]
    lab.server.run([*made, lab.wan_host.netns_name], check=True)
    for host, v4, v6 in links:
        for words in (f"address add {v4}", f"address add {v6} nodad"):
            host.run(["ip", *words.split(), "dev", "back0"], check=True)
        host.run(["ip", "link", "set", "back0", "up"], check=True)
    echo = Echo(lab.server)
    for family in (socket.AF_INET, socket.AF_INET6):
        echo.listen(family, lab.server.address(family), PORT)
    yield lab
    echo.close()


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Iterator[Pair]:
    with Pair(lab, dc=Side(limits={"open_timeout": 9})) as pair:
        yield pair


def connect(lab: Lab, family: socket.AddressFamily) -> socket.socket:
    sock = lab.client.socket(family)
    sock.settimeout(30)
    sock.connect((lab.server.address(family), PORT))
    return sock


def reason(pair: Pair, sock: socket.socket) -> str:
    name = list(address_of(sock))
    return next((str(flow["reason"]) for flow in pair.branch.call("flows") if flow["client"] == name), "none")


def events(pair: Pair, kind: str) -> list[list[dict[str, Any]]]:
    """Of each box, the branch's first."""
    return [[event for event in box.events() if event["kind"] == kind] for box in pair.boxes]


def test_a_silent_server_is_not_taken_for_one_that_answers_elsewhere(lab: Lab, pair: Pair) -> None:
    """Neither clients nor the box get an answer."""
    lab.server.run(["ip", "address", "add", "10.2.0.3/16", "dev", "eth0"], check=True)
    drop = "type filter hook input priority 0; ip daddr 10.2.0.3 tcp dport 80 drop;"
    lab.server.run(["nft", f"add table inet silent {{ chain in {{ {drop} }}; }}"], check=True)
    sock = lab.client.socket()
    sock.settimeout(30)
    sock.connect(("10.2.0.3", 80))
    with sock, pytest.raises(ConnectionResetError):
        echoes(sock)
    assert len(events(pair, "flow.failed")[0]) == 1
    assert events(pair, "route.asymmetric") == [[], []]


def test_a_client_whose_packets_take_another_way_is_let_go(lab: Lab, pair: Pair) -> None:
    """Only its SYN comes through the branch's box."""
    client = "10.1.0.9"
    made = ["ip", "link", "add", "side0", "type", "veth", "peer", "name", "side0", "netns"]
    lab.client.run([*made, lab.wan_host.netns_name], check=True)
    for host, words in (
        (lab.client, "ip address add 10.8.0.2/24 dev side0"),
        (lab.wan_host, "ip address add 10.8.0.1/24 dev side0"),
        (lab.client, "ip link set side0 up"),
        (lab.wan_host, "ip link set side0 up"),
        (lab.client, f"ip address add {client}/16 dev eth0"),
        (lab.client, "ip route add default via 10.8.0.1 table 7"),
        (lab.client, "ip rule add fwmark 7 lookup 7"),
    ):
        host.run(words.split(), check=True)
    other = f"type route hook output priority mangle; ip saddr {client} tcp flags & syn == 0 meta mark set 7;"
    lab.client.run(["nft", f"add table inet other {{ chain out {{ {other} }}; }}"], check=True)

    def connected() -> socket.socket:
        sock = lab.client.socket()
        sock.settimeout(30)
        sock.bind((client, 0))
        sock.connect((lab.server.v4, PORT))
        return sock

    with pytest.raises(ConnectionResetError), connected() as sock:
        echoes(sock)
    pair.branch.wait(lambda: bool(events(pair, "route.one_way")[0]), "the client is let go")
    with connected() as sock:
        assert echoes(sock), "it passes, and the network carries it"
        assert reason(pair, sock) == "one_way_client"
    (event,) = events(pair, "route.one_way")[0]
    assert event["subject"] == client


def test_answers_that_go_another_way_are_found(lab: Lab, pair: Pair) -> None:
    with connect(lab, socket.AF_INET) as sock:
        assert echoes(sock)
        assert reason(pair, sock) == ""
    for family, site, way in (
        (socket.AF_INET, "10.1.0.0/16", "10.7.0.1"),
        (socket.AF_INET6, "fd01::/48", "fd07::1"),
    ):
        lab.server.run(["ip", "route", "add", site, "via", way], check=True)
        with connect(lab, family) as sock, pytest.raises(ConnectionResetError):
            echoes(sock)
        with connect(lab, family) as sock:
            assert echoes(sock), "it passes, and the network carries it"
            assert reason(pair, sock) == "asymmetric_route"
    branch, dc = events(pair, "route.asymmetric")
    assert [event["subject"] for event in branch] == ["10.2.0.2", "fd02::2"]
    assert [event["evidence"]["server"] for event in dc] == [["10.2.0.2", PORT], ["fd02::2", PORT]]
    assert dc[0]["evidence"]["client"][0] == "10.1.0.2"
