"""What is intercepted, what is passed, and with which reason."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest

from appliance.intercept import passed_flows
from appliance.lab import Lab
from tests.lab.plain_pair import (
    EAGER_PORT,
    FAMILIES,
    KNOWN_PORT,
    PASS_PORT,
    Echo,
    Pair,
    address_of,
    echoes,
    flush_conntrack,
    running,
    until,
)
from tests.lab.plain_relay import LANE_PORT

BOTH = pytest.mark.parametrize("family", FAMILIES, ids=["v4", "v6"])
PORTS = (EAGER_PORT, KNOWN_PORT, KNOWN_PORT + 1, PASS_PORT, LANE_PORT, 179)

MPTCP = 262  # IPPROTO_MPTCP
TCP_MD5SIG = 14


def md5_key(family: socket.AddressFamily, address: str) -> bytes:
    """struct tcp_md5sig with a key for that server."""
    packed = socket.inet_pton(family, address)
    padding = bytes(2) if family == socket.AF_INET else bytes(6)
    peer = struct.pack("=H", family) + padding + packed
    return peer.ljust(128, b"\0") + struct.pack("=BBHI80s", 0, 0, 6, 0, b"secret")


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
        client = address_of(sock)
        sock.sendall(b"x" * 100_000)
        sock.shutdown(socket.SHUT_WR)
        received = 0
        while data := sock.recv(1 << 16):
            received += len(data)
        assert received == 100_000
    assert until(lambda: any(end.client == client and end.clean for end in pair.echo.ended))


@BOTH
def test_a_known_flow_is_intercepted_from_the_second_on(pair: Pair, family: socket.AddressFamily) -> None:
    server, before = pair.server(family), pair.branch.accepted
    with pair.connect(server, KNOWN_PORT) as sock:
        assert echoes(sock)
        assert pair.branch.accepted == before
        assert pair.branch.reason(address_of(sock)) == "unknown_destination"
    assert [server, KNOWN_PORT] in pair.branch.ask("known")
    with pair.connect(server, KNOWN_PORT) as sock:
        assert echoes(sock)
    assert pair.branch.accepted == before + 1


@BOTH
def test_the_other_direction_at_the_same_time(pair: Pair, family: socket.AddressFamily) -> None:
    """Every box is both sides: the server's site has clients too."""
    address = pair.lab.client.address(family)
    echo = Echo(pair.lab.client)
    echo.listen(family, address, EAGER_PORT)
    before = pair.dc.accepted
    try:
        with pair.connect(pair.server(family), EAGER_PORT) as up, pair.lab.server.socket(family) as down:
            down.settimeout(5)
            down.connect((address, EAGER_PORT))
            assert echoes(down)
            assert echoes(up)
            assert address_of(down) in echo.seen
    finally:
        echo.close()
    assert pair.dc.accepted == before + 1


@BOTH
@pytest.mark.parametrize(
    ("port", "reason"), [(179, "never_port"), (LANE_PORT, "own_port"), (PASS_PORT, "rule_pass")]
)
def test_passed_by_port(pair: Pair, family: socket.AddressFamily, port: int, reason: str) -> None:
    before = pair.branch.accepted
    with pair.connect(pair.server(family), port) as sock:
        assert echoes(sock, b"x" * 1000)
        flow = next(flow for flow in pair.branch.passed() if flow.client == address_of(sock))
    assert flow.reason.name == reason
    assert flow.server == (pair.server(family), port)
    assert flow.state == "established"
    assert flow.bytes_up > 1000
    assert flow.bytes_down > 1000
    assert pair.branch.accepted == before


@BOTH
@pytest.mark.parametrize("option", ["mptcp", "md5"])
def test_passed_by_tcp_option(pair: Pair, family: socket.AddressFamily, option: str) -> None:
    """The SYN is enough: such a flow is passed whatever the server makes of the option."""
    server = pair.server(family)
    with pair.lab.client.socket(family, socket.SOCK_STREAM, MPTCP if option == "mptcp" else 0) as sock:
        sock.settimeout(5)
        if option == "md5":
            sock.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, md5_key(family, server))
        sock.bind((pair.lab.client.address(family), 0))
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect((server, EAGER_PORT))
        assert until(lambda: pair.branch.reason(address_of(sock)) == "tcp_option")


def test_a_limit_on_the_listing_holds(pair: Pair) -> None:
    with contextlib.ExitStack() as open_flows:
        for _ in range(3):
            open_flows.enter_context(pair.connect(pair.server(socket.AF_INET), PASS_PORT))
        assert len(pair.branch.host.call(passed_flows, 2)) == 2


@BOTH
def test_forced_syn_cookies(pair: Pair, family: socket.AddressFamily) -> None:
    """Then no half-open socket exists that the handshake's last ACK could be matched with."""
    before = pair.branch.accepted
    pair.branch.host.sysctl("net.ipv4.tcp_syncookies", 2)
    try:
        with pair.connect(pair.server(family), EAGER_PORT) as sock:
            assert echoes(sock)
    finally:
        pair.branch.host.sysctl("net.ipv4.tcp_syncookies", 1)
    assert pair.branch.accepted == before + 1


@BOTH
def test_other_users_of_the_mark_are_left_alone(pair: Pair, family: socket.AddressFamily) -> None:
    """A firewall that keeps its own bits in the upper half of the conntrack mark."""
    host = pair.branch.host
    firewall = (
        "table inet other {\n"
        " chain pre {\n  type filter hook prerouting priority -155;\n"
        "  tcp flags & (syn|ack) == syn ct mark set ct mark or 0x5a0000\n }\n"
        " chain post {\n  type filter hook postrouting priority 0;\n"
        "  ct mark & 0xffff0000 == 0x5a0000 counter\n }\n}\n"
    )
    host.run(["nft", "-f", "-"], input=firewall, text=True, check=True)
    before = pair.branch.accepted
    try:
        with (
            pair.connect(pair.server(family), EAGER_PORT) as one,
            pair.connect(pair.server(family), PASS_PORT) as two,
        ):
            assert echoes(one)
            assert echoes(two)
            assert pair.branch.reason(address_of(two)) == "rule_pass"
            listed = host.run(
                ["nft", "list", "chain", "inet", "other", "post"], capture_output=True, text=True
            )
            assert "packets 0" not in listed.stdout
    finally:
        host.run(["nft", "delete", "table", "inet", "other"], check=True)
    assert pair.branch.accepted == before + 1


@BOTH
def test_conntrack_flushed_on_either_box(pair: Pair, family: socket.AddressFamily) -> None:
    with (
        pair.connect(pair.server(family), EAGER_PORT) as taken,
        pair.connect(pair.server(family), PASS_PORT) as passed,
    ):
        assert echoes(taken)
        for box in (pair.branch, pair.dc):
            flush_conntrack(box.host)
            assert echoes(taken, b"x" * 300_000)
            assert echoes(passed, b"x" * 300_000)
        assert pair.branch.reason(address_of(passed)) == "older_flow"


@BOTH
@pytest.mark.parametrize("far", [True, False], ids=["far_side", "near_side"])
def test_conntrack_flushed_and_the_server_speaks_first(
    pair: Pair, family: socket.AddressFamily, far: bool
) -> None:
    """Then conntrack takes the server for the one who opened the connection."""
    with pair.connect(pair.server(family), EAGER_PORT) as sock:
        assert echoes(sock)
        flush_conntrack((pair.dc if far else pair.branch).host)
        for _ in range(3):
            pair.echo.open[address_of(sock)].sendall(b"news")
            assert sock.recv(4, socket.MSG_WAITALL) == b"news"
        assert echoes(sock)


@BOTH
def test_a_flow_older_than_everything(lab: Lab, family: socket.AddressFamily) -> None:
    echo = Echo(lab.server)
    echo.listen(family, lab.server.address(family), EAGER_PORT)
    try:
        with lab.client.socket(family) as sock:
            sock.settimeout(5)
            sock.connect((lab.server.address(family), EAGER_PORT))
            assert echoes(sock)
            with running(lab) as pair:
                assert echoes(sock)
                assert pair.branch.accepted == 0
                assert pair.branch.reason(address_of(sock)) == "older_flow"
    finally:
        echo.close()


@BOTH
def test_what_only_crosses_the_box_is_not_taken(pair: Pair, family: socket.AddressFamily) -> None:
    """From WAN to WAN through the data centre: its clients are not this box's."""
    wan, target = pair.lab.wan_host, pair.lab.client.address(family)
    version, via, source = (
        ("-4", "10.9.2.1", "10.9.2.254") if family == socket.AF_INET else ("-6", "fd09:2::1", "fd09:2::fe")
    )
    wan.sysctl("net.ipv4.conf.all.accept_local", 1)  # its own packets come by again
    wan.run(["ip", version, "route", "add", target, "via", via, "table", "200"], check=True)
    wan.run(["ip", version, "rule", "add", "iif", "lo", "lookup", "200"], check=True)
    echo = Echo(pair.lab.client)
    echo.listen(family, target, EAGER_PORT)
    before = pair.dc.accepted
    try:
        with wan.socket(family) as sock:
            sock.settimeout(5)
            sock.bind((source, 0))
            sock.connect((target, EAGER_PORT))
            assert echoes(sock)
            assert pair.dc.reason(address_of(sock)) is None
    finally:
        echo.close()
        wan.run(["ip", version, "rule", "del", "iif", "lo", "lookup", "200"], check=True)
        wan.sysctl("net.ipv4.conf.all.accept_local", 0)
    assert pair.dc.accepted == before


@BOTH
def test_the_source_may_be_the_box(lab: Lab, family: socket.AddressFamily) -> None:
    with running(lab, source="box") as pair:
        pair.echo.listen(family, pair.server(family), EAGER_PORT)
        with pair.connect(pair.server(family), EAGER_PORT) as sock:
            assert echoes(sock)
        assert pair.branch.accepted == 1
        assert [seen[0] for seen in pair.echo.seen] == [lab.dc.address(family)]
