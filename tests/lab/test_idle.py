"""Flows in which nothing happens: they live as long as their end hosts do, and end when one of these is gone."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from appliance.lab import Lab
from appliance.lab.host import Host
from appliance.lab.pair import Pair
from tests.lab.plain_pair import ECHO_PORT, Echo, address_of, echoes, echoing, one_of, until

SERVER = "10.2.0.2"
KEEPALIVE = ("tcp_keepalive_time", "tcp_keepalive_intvl", "tcp_keepalive_probes")
MUCH = 300_000
UNPLUGGED = "add table inet unplugged;" + "".join(
    f"add chain inet unplugged {way} {{ type filter hook {way} priority 0; policy drop; }};"
    for way in ("input", "output")
)


@pytest.fixture(scope="module")
def echo(module_lab: Lab) -> Iterator[Echo]:
    with echoing(module_lab) as echo:
        yield echo


@contextlib.contextmanager
def settings(host: Host, values: dict[str, str]) -> Iterator[None]:
    """Of /proc/sys/net, put back afterwards."""
    before = {name: host.read("/proc/sys/" + name.replace(".", "/")).strip() for name in values}
    try:
        for name, value in values.items():
            host.sysctl(name, value)
        yield
    finally:
        for name, value in before.items():
            host.sysctl(name, value)


@pytest.fixture
def forgetful(module_lab: Lab, module_pair: Pair) -> Iterator[None]:
    """Both boxes' conntrack forgets a connection after a second."""
    states = ("established", "fin_wait", "close_wait", "last_ack", "unacknowledged")
    quick = {f"net.netfilter.nf_conntrack_tcp_timeout_{state}": "1" for state in states}
    with settings(module_lab.branch, quick), settings(module_lab.dc, quick):
        yield


def connect(lab: Lab) -> socket.socket:
    sock = lab.client.socket()
    sock.settimeout(10)
    sock.connect((SERVER, ECHO_PORT))
    return sock


def is_forgotten(lab: Lab, sock: socket.socket) -> bool:
    """Neither box's conntrack has the connection any more."""
    words = f"sport={address_of(sock)[1]} "
    return not any(words in host.read("/proc/thread-self/net/nf_conntrack") for host in (lab.branch, lab.dc))


def optimised(pair: Pair, sock: socket.socket) -> bool:
    name = list(address_of(sock))
    return echoes(sock) and any(
        flow["client"] == name for flow in pair.branch.call("flows", kind="optimised")
    )


@pytest.mark.parametrize("first", ["client", "server"])
def test_conntrack_may_forget_an_idle_flow(
    module_lab: Lab, module_pair: Pair, echo: Echo, forgetful: None, first: str
) -> None:
    with one_of(lambda: connect(module_lab), lambda sock: optimised(module_pair, sock)) as sock:
        assert until(lambda: is_forgotten(module_lab, sock), 10)
        if first == "server":
            echo.open[address_of(sock)].sendall(b"news")
            assert sock.recv(4) == b"news"
        assert echoes(sock, b"x" * MUCH)
        assert optimised(module_pair, sock)


def test_conntrack_may_forget_a_half_closed_flow(
    module_lab: Lab, module_pair: Pair, echo: Echo, forgetful: None
) -> None:
    listening = module_lab.server.socket()
    with listening:
        listening.bind((SERVER, 0))
        listening.listen()
        with module_lab.client.socket() as sock:
            sock.settimeout(10)
            sock.connect(listening.getsockname())
            server, _ = listening.accept()
            with server:
                server.settimeout(10)
                sock.sendall(b"question")
                sock.shutdown(socket.SHUT_WR)
                assert server.recv(8) == b"question"
                assert server.recv(1) == b""
                assert until(lambda: is_forgotten(module_lab, sock), 10)
                server.sendall(b"x" * MUCH)
            with sock.makefile("rb") as answer:
                assert answer.read() == b"x" * MUCH


@pytest.mark.parametrize("gone", ["client", "server"])
def test_a_host_that_is_gone_is_noticed_and_the_other_one_told(
    module_lab: Lab, module_pair: Pair, echo: Echo, gone: str
) -> None:
    box = module_lab.branch if gone == "client" else module_lab.dc
    quick = dict(zip((f"net.ipv4.{name}" for name in KEEPALIVE), ("1", "1", "2"), strict=True))
    with settings(box, quick), connect(module_lab) as sock, connect(module_lab) as half:
        assert echoes(sock)
        assert echoes(half)
        if gone == "client":
            half.shutdown(socket.SHUT_WR)
        name = address_of(sock)
        host = module_lab.hosts[gone]
        host.run(["nft", UNPLUGGED], check=True)
        try:
            if gone == "client":
                assert until(lambda: any(end.client == name and not end.clean for end in echo.ended), 15)
            else:
                with pytest.raises(ConnectionResetError):
                    sock.recv(1)
        finally:
            host.run(["nft", "delete table inet unplugged"], check=True)
        assert until(lambda: not module_pair.branch.call("flows", kind="optimised"), 10)
