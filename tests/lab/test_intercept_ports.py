"""A client with a fixed source port (as NFS) comes back, in every combination of how it went and which way it goes."""

from __future__ import annotations

import errno
import itertools
import select
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from appliance.intercept import dial, far_side
from appliance.intercept.listener import Endpoint
from appliance.lab import Lab
from tests.lab.plain_pair import (
    EAGER_PORT,
    FAMILIES,
    Pair,
    address_of,
    branch_spec,
    echoes,
    running,
    until,
)

BOTH = pytest.mark.parametrize("family", FAMILIES, ids=["v4", "v6"])
WAYS = ("intercepted", "passed")
ENDS = ("client_fin", "server_fin", "rst")
SOURCE_PORT = 901
WITHIN = 10.0


@pytest.fixture(scope="module")
def pair(module_lab: Lab) -> Iterator[Pair]:
    # The client's own TIME_WAIT would forbid it the port for a minute; that is not what is tested here.
    module_lab.client.sysctl("net.ipv4.tcp_max_tw_buckets", 0)
    with running(module_lab) as pair:
        for family in FAMILIES:
            pair.echo.listen(family, pair.server(family), EAGER_PORT)
        yield pair


def go(pair: Pair, way: str) -> None:
    """From now on new flows take this way."""
    pair.branch.update(branch_spec(bypass=way == "passed"))


def arrive(pair: Pair, family: socket.AddressFamily, way: str, port: int) -> socket.socket:
    """Connects from the fixed port and checks which way it went."""
    before = pair.branch.accepted
    began = time.monotonic()
    sock = pair.connect(pair.server(family), EAGER_PORT, source_port=port, timeout=WITHIN)
    assert echoes(sock)
    assert time.monotonic() - began < WITHIN
    assert pair.branch.accepted - before == (way == "intercepted")
    assert pair.branch.reason(address_of(sock)) == ("bypass" if way == "passed" else None)
    return sock


def leave(sock: socket.socket, end: str) -> None:
    """Ends the connection; returns when the client's side of it is over."""
    if end == "rst":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    elif end == "server_fin":
        sock.sendall(b"bye")
        assert sock.recv(1) == b""
    else:
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    sock.close()


@BOTH
@pytest.mark.parametrize(("first", "end", "then"), list(itertools.product(WAYS, ENDS, WAYS)))
def test_back_on_the_same_port(
    pair: Pair, family: socket.AddressFamily, first: str, end: str, then: str
) -> None:
    go(pair, first)
    sock = arrive(pair, family, first, SOURCE_PORT)
    go(pair, then)  # a flow under way is not concerned
    assert echoes(sock)
    leave(sock, end)
    with arrive(pair, family, then, SOURCE_PORT) as again:
        leave(again, "rst")


def forget(pair: Pair, sock: socket.socket) -> None:
    """The client forgets its connection without a word, as by a power cut."""
    client = pair.lab.client
    mute = (
        "table inet mute {\n chain out {\n  type filter hook output priority 0;\n"
        "  tcp flags & (rst|fin) != 0 drop\n }\n}\n"
    )
    client.run(["nft", "-f", "-"], input=mute, text=True, check=True)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
    client.run(["nft", "delete", "table", "inet", "mute"], check=True)


@BOTH
@pytest.mark.parametrize(("first", "then"), list(itertools.product(WAYS, WAYS)))
def test_back_after_a_power_cut(pair: Pair, family: socket.AddressFamily, first: str, then: str) -> None:
    """The old connection lives on in boxes and server, and conntrack thinks it established."""
    go(pair, first)
    sock = arrive(pair, family, first, SOURCE_PORT + 1)
    go(pair, then)
    forget(pair, sock)
    with arrive(pair, family, then, SOURCE_PORT + 1) as again:
        leave(again, "rst")


@BOTH
@pytest.mark.parametrize("daemon", ["running", "hung", "dead"])
def test_back_past_its_box_while_the_far_side_holds_the_old_flow(
    lab: Lab, family: socket.AddressFamily, daemon: str
) -> None:
    """The stale tuple: the kernel lets the client through, the daemon only cleans up."""
    with running(lab) as pair:
        pair.echo.listen(family, pair.server(family), EAGER_PORT)
        sock = pair.connect(pair.server(family), EAGER_PORT, source_port=SOURCE_PORT)
        assert echoes(sock)
        # The near box vanishes without the far side's noticing: nothing crosses between the boxes while it dies.
        box_to_box = "ip saddr 10.9.1.1 ip daddr 10.9.2.1 drop"
        cut = f"table inet cut {{\n chain thru {{\n  type filter hook forward priority 0;\n  {box_to_box}\n }}\n}}\n"
        lab.wan_host.run(["nft", "-f", "-"], input=cut, text=True, check=True)
        pair.branch.kill()
        sock.close()
        if daemon == "hung":
            pair.dc.signal(signal.SIGSTOP)
        elif daemon == "dead":
            pair.dc.kill()
        began = time.monotonic()
        with pair.connect(pair.server(family), EAGER_PORT, source_port=SOURCE_PORT, timeout=WITHIN) as again:
            assert echoes(again)
            assert time.monotonic() - began < WITHIN
            if daemon == "hung":
                pair.dc.signal(signal.SIGCONT)
            if daemon != "dead":
                assert until(lambda: pair.dc.ask("stats")["stale"] == 1)
                assert until(lambda: not held(pair, again))
            if daemon == "running":
                assert silenced(pair)  # its last word, an RST, would have been the new connection's
            assert echoes(again, b"x" * 100_000)


def held(pair: Pair, sock: socket.socket) -> bool:
    """Whether the far box still has a socket of this client's tuple."""
    port = address_of(sock)[1]
    listed = pair.lab.dc.run(["ss", "-Htan", f"sport = :{port}"], capture_output=True, text=True, check=True)
    return bool(listed.stdout.strip())


def silenced(pair: Pair) -> bool:
    """Whether the far box has dropped something that its own stale sockets said."""
    chain = ["nft", "list", "chain", "inet", "branchline", "out_far"]
    listed = pair.lab.dc.run(chain, capture_output=True, text=True, check=True).stdout
    return "counter packets" in listed and "counter packets 0 " not in listed


@BOTH
def test_a_second_dial_of_the_same_tuple_ends_the_first(pair: Pair, family: socket.AddressFamily) -> None:
    client, server = (pair.lab.client.address(family), 40000), (pair.server(family), EAGER_PORT)
    first = pair.lab.dc.call(dial, client, server, "client")
    first.setblocking(True)
    first.settimeout(5)
    assert echoes(first)
    second = pair.lab.dc.call(dial, client, server, "client")
    with first, second:
        second.setblocking(True)
        second.settimeout(5)
        assert echoes(second)
        with pytest.raises(OSError) as raised:
            first.recv(1)
        assert raised.value.errno == errno.ECONNABORTED


@BOTH
def test_a_tuple_that_is_given_up_just_now_is_dialled_again(
    pair: Pair, family: socket.AddressFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old connection ends by itself between the refused connect and its removal: nothing is left to remove."""
    client, server = (pair.lab.client.address(family), SOURCE_PORT + 7), (pair.server(family), EAGER_PORT)
    old = pair.dc.host.call(far_side.dial, client, server, "client")
    missed = []

    def destroy(local: Endpoint, remote: Endpoint) -> bool:
        missed.append((local, remote))
        old.close()
        return False

    monkeypatch.setattr(far_side, "destroy", destroy)
    with pair.dc.host.call(far_side.dial, client, server, "client") as again:
        again.settimeout(WITHIN)
        select.select([], [again], [], WITHIN)
        assert again.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert echoes(again)
    assert missed == [(client, server)]
