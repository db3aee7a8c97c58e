"""At the latest on its second try a client sees what it would see without us; ICMP errors reach our sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from appliance.lab import Host, Lab
from tests.lab.plain_pair import (
    EAGER_PORT,
    FAMILIES,
    KNOWN_PORT,
    Echo,
    Pair,
    echoes,
    outcome,
    running,
)
from tests.lab.plain_relay import OPEN_TIMEOUT

BOTH = pytest.mark.parametrize("family", FAMILIES, ids=["v4", "v6"])
NARROW = 1300  # bytes


@dataclass(frozen=True)
class Behind:
    """A subnet behind one of the end hosts: `host` forwards to it, over a route with a small MTU."""

    host: Host
    netns: Host
    addresses: dict[socket.AddressFamily, str]


@pytest.fixture(scope="module")
def pair(module_lab: Lab) -> Iterator[Pair]:
    with running(module_lab) as pair:
        for family in FAMILIES:
            pair.echo.listen(family, pair.server(family), EAGER_PORT)
            pair.echo.listen(family, pair.server(family), KNOWN_PORT)
        for host in (module_lab.dc, module_lab.server):  # a test is faster than routers like to complain
            host.sysctl("net.ipv4.icmp_ratelimit", 0)
            host.sysctl("net.ipv6.icmp.ratelimit", 0)
        yield pair


@BOTH
def test_a_closed_port(pair: Pair, family: socket.AddressFamily) -> None:
    server = pair.server(family)
    assert outcome(pair, server, EAGER_PORT + 1) == "ECONNRESET"
    assert outcome(pair, server, EAGER_PORT + 1) == "ECONNREFUSED"


@BOTH
def test_a_closed_port_that_was_never_known(pair: Pair, family: socket.AddressFamily) -> None:
    """Scanners are told the truth at once: nothing but a rule marked eager intercepts a first flow."""
    assert outcome(pair, pair.server(family), KNOWN_PORT + 1) == "ECONNREFUSED"


@BOTH
def test_a_known_server_that_has_stopped(pair: Pair, family: socket.AddressFamily) -> None:
    server, port = pair.server(family), KNOWN_PORT + 2
    echo = Echo(pair.lab.server)
    echo.listen(family, server, port)
    assert outcome(pair, server, port) == "echo"
    before = pair.branch.accepted
    assert outcome(pair, server, port) == "echo"
    assert pair.branch.accepted == before + 1
    echo.close()
    assert outcome(pair, server, port) == "ECONNRESET"
    assert outcome(pair, server, port) == "ECONNREFUSED"
    assert [server, port] not in pair.branch.ask("known")  # it has to answer again first


@BOTH
@pytest.mark.parametrize("where", ["box", "router"])
def test_no_route(pair: Pair, family: socket.AddressFamily, where: str) -> None:
    """The far box itself has no route, or a router behind it says so (an ICMP error to our SYN)."""
    number = 77 if where == "box" else 78
    version, prefix, address = (
        ("-4", f"10.2.{number}.0/24", f"10.2.{number}.2")
        if family == socket.AF_INET
        else ("-6", f"fd02:0:0:{number}::/64", f"fd02:0:0:{number}::2")
    )
    host = pair.lab.dc if where == "box" else pair.lab.server
    host.run(["ip", version, "route", "add", "unreachable", prefix], check=True)
    if where == "router":
        pair.lab.server.sysctl("net.ipv4.ip_forward", 1)
        pair.lab.server.sysctl("net.ipv6.conf.all.forwarding", 1)
        via = ["via", pair.server(family)]
        pair.lab.dc.run(["ip", version, "route", "add", prefix, *via], check=True)
    pair.branch.kill()
    plain = outcome(pair, address, EAGER_PORT + 2)
    assert plain in {"EHOSTUNREACH", "ENETUNREACH", "EACCES"}
    pair.branch.start()
    began = time.monotonic()
    assert outcome(pair, address, EAGER_PORT + 2) == "ECONNRESET"
    # The error was heard. Without delay on the way it reaches an IPv6 socket that is still busy sending, so that Linux
    # acts only on the one to the second SYN, after a second; plain clients fare the same.
    assert time.monotonic() - began < OPEN_TIMEOUT - 0.1
    assert outcome(pair, address, EAGER_PORT + 2) == plain


@BOTH
def test_silently_dropped(pair: Pair, family: socket.AddressFamily) -> None:
    server = pair.server(family)
    wall = (
        "table inet wall {\n chain in {\n  type filter hook input priority 0;\n"
        f"  tcp dport {EAGER_PORT + 3} drop\n }}\n}}\n"
    )
    pair.lab.server.run(["nft", "-f", "-"], input=wall, text=True, check=True)
    try:
        assert outcome(pair, server, EAGER_PORT + 3) == "ECONNRESET"
        assert outcome(pair, server, EAGER_PORT + 3, timeout=0.5) == "timeout"
    finally:
        pair.lab.server.run(["nft", "delete", "table", "inet", "wall"], check=True)


@pytest.fixture(scope="module")
def behind(pair: Pair) -> Iterator[dict[str, Behind]]:
    """A subnet behind the client and one behind the server, each reached over a path narrower than its ends say."""
    made = {}
    lab = pair.lab
    try:
        for site, host, box in ((1, lab.client, lab.branch), (2, lab.server, lab.dc)):
            name = f"{host.netns_name}-far"
            made[host.name] = subnet(lab, name, site, host, box)
        yield made
    finally:
        for end in made.values():
            end.host.run(["ip", "netns", "delete", end.netns.netns_name], check=True)


def subnet(lab: Lab, name: str, site: int, host: Host, box: Host) -> Behind:
    addresses = {socket.AF_INET: f"10.{site}.99.2", socket.AF_INET6: f"fd0{site}:0:0:99::2"}
    gateways = {socket.AF_INET: f"10.{site}.99.1", socket.AF_INET6: f"fd0{site}:0:0:99::1"}
    end = Host(name, name, addresses[socket.AF_INET], addresses[socket.AF_INET6])
    lab.server.run(["ip", "netns", "add", name], check=True)
    host.sysctl("net.ipv4.ip_forward", 1)
    host.sysctl("net.ipv6.conf.all.forwarding", 1)
    for name_of, value in (("all", 0), ("default", 0)):
        end.sysctl(f"net.ipv6.conf.{name_of}.accept_dad", value)
    commands = [(host, f"link add far0 type veth peer name eth0 netns {name}")]
    for family, version, length in ((socket.AF_INET, "-4", 24), (socket.AF_INET6, "-6", 64)):
        prefix = f"{addresses[family].rpartition('2')[0]}{'0' if length == 24 else ''}/{length}"
        # In place of the route that came with the address, or before it.
        verb, metric = ("change", "") if length == 24 else ("add", "metric 1")
        here = f"{gateways[family]}/{length} dev far0"
        commands += [
            (host, f"address add {here}{' nodad' if length == 64 else ''}"),
            (end, f"address add {addresses[family]}/{length} dev eth0{' nodad' if length == 64 else ''}"),
            (host, "link set far0 up"),
            (end, "link set eth0 up"),
            (end, f"{version} route add default via {gateways[family]}"),
            (host, f"{version} route {verb} {prefix} dev far0 {metric} mtu lock {NARROW}"),
            (box, f"{version} route add {prefix} via {host.address(family)}"),
        ]
    for at, command in commands:
        at.run(["ip", *command.split()], check=True)
    return Behind(host, end, addresses)


@BOTH
def test_path_mtu_towards_the_server(
    pair: Pair, behind: dict[str, Behind], family: socket.AddressFamily
) -> None:
    """The error is about the far side's packets, which carry the client's address."""
    server = behind["server"].addresses[family]
    echo = Echo(behind["server"].netns)
    echo.listen(family, server, EAGER_PORT)
    before = pair.branch.accepted
    try:
        with pair.connect(server, EAGER_PORT) as sock:
            assert echoes(sock, b"x" * 200_000)
    finally:
        echo.close()
    assert pair.branch.accepted == before + 1


@BOTH
def test_path_mtu_towards_the_client(
    pair: Pair, behind: dict[str, Behind], family: socket.AddressFamily
) -> None:
    """The error is about the near side's packets, which carry the server's address."""
    before = pair.branch.accepted
    with behind["client"].netns.socket(family) as sock:
        sock.settimeout(5)
        sock.connect((pair.server(family), EAGER_PORT))
        assert echoes(sock, b"x" * 200_000)
    assert pair.branch.accepted == before + 1
