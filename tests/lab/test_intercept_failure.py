"""Fail-open: what clients see when a listener closes, a box hangs, a box dies."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from appliance.lab import Lab
from tests.lab.plain_pair import (
    EAGER_PORT,
    FAMILIES,
    SECOND_ADDRESS,
    Pair,
    address_of,
    branch_spec,
    echoes,
    flush_conntrack,
    outcome,
    running,
    until,
)

BOTH = pytest.mark.parametrize("family", FAMILIES, ids=["v4", "v6"])


@pytest.fixture
def pair(lab: Lab) -> Iterator[Pair]:
    for address in (f"{SECOND_ADDRESS[socket.AF_INET]}/16", f"{SECOND_ADDRESS[socket.AF_INET6]}/48"):
        nodad = ["nodad"] if ":" in address else []
        lab.server.run(["ip", "address", "add", address, "dev", "eth0", *nodad], check=True)
    with running(lab) as pair:
        for family in FAMILIES:
            for address in (pair.server(family), SECOND_ADDRESS[family]):
                pair.echo.listen(family, address, EAGER_PORT)
        yield pair


def is_reset(sock: socket.socket) -> bool:
    """Waits for the connection's end; True when it is an RST, False when it is a clean end of file."""
    sock.settimeout(5)
    try:
        return sock.recv(1) != b""
    except OSError as error:
        return error.errno == errno.ECONNRESET


@BOTH
def test_a_closed_listener_fails_open_exactly_that_peer(pair: Pair, family: socket.AddressFamily) -> None:
    server, annex = pair.server(family), SECOND_ADDRESS[family]
    with contextlib.ExitStack() as flows:
        old = flows.enter_context(pair.connect(server, EAGER_PORT))
        assert echoes(old)

        def taken(address: str) -> bool:
            before = pair.branch.accepted
            sock = flows.enter_context(pair.connect(address, EAGER_PORT))
            assert echoes(sock)
            if pair.branch.accepted == before:
                assert pair.branch.reason(address_of(sock)) == "peer_down"
            return pair.branch.accepted == before + 1

        assert taken(server)
        assert taken(annex)
        pair.branch.ask("shut", peer=1)  # the rules still name the port
        assert not taken(server)
        assert taken(annex)
        assert echoes(old)
        pair.branch.update(pair.branch.spec)  # now the rules know
        assert not taken(server)
        assert taken(annex)
        assert echoes(old)
        pair.branch.ask("open", peer=1)
        assert taken(server)
        assert taken(annex)
        assert echoes(old)


@BOTH
def test_a_hung_box_passes_new_flows(pair: Pair, family: socket.AddressFamily) -> None:
    server = pair.server(family)
    queued: list[socket.socket] = []
    with pair.connect(server, EAGER_PORT) as live:
        assert echoes(live)
        pair.branch.signal(signal.SIGSTOP)
        began = time.monotonic()
        while True:
            asked = time.monotonic() - began
            sock = pair.connect(server, EAGER_PORT)
            if pair.branch.reason(address_of(sock)) == "heartbeat_late":
                break
            queued.append(sock)
            assert asked < 10.0
            until(lambda: False, 0.05)
        with sock:
            assert echoes(sock)
            assert queued  # those of the first moments wait for the hung process
            pair.branch.kill()
            assert all(map(is_reset, [live, *queued]))
            assert echoes(sock)
    for waiting in queued:
        waiting.close()


@BOTH
def test_a_syn_that_found_the_hung_boxs_queue_full_passes_later(
    pair: Pair, family: socket.AddressFamily
) -> None:
    server = pair.server(family)
    pair.branch.kill()
    pair.branch.start(backlog=0)  # which is room for one
    with contextlib.ExitStack() as flows:
        pair.branch.signal(signal.SIGSTOP)
        flows.enter_context(pair.connect(server, EAGER_PORT))
        sock = flows.enter_context(pair.connect(server, EAGER_PORT))  # its second SYN, after a second
        assert echoes(sock)
        assert pair.branch.reason(address_of(sock)) == "heartbeat_late"


@BOTH
def test_a_resumed_box_intercepts_again(pair: Pair, family: socket.AddressFamily) -> None:
    server = pair.server(family)
    with pair.connect(server, EAGER_PORT) as live:
        assert echoes(live)
        pair.branch.signal(signal.SIGSTOP)

        def passes() -> bool:
            with pair.connect(server, EAGER_PORT) as sock:
                return pair.branch.reason(address_of(sock)) == "heartbeat_late"

        assert until(passes, 10.0)
        pair.branch.signal(signal.SIGCONT)
        assert echoes(live)
        assert until(lambda: pair.branch.ask("present"))
        before = pair.branch.accepted
        with pair.connect(server, EAGER_PORT) as sock:
            assert echoes(sock)
        assert pair.branch.accepted == before + 1


@BOTH
def test_a_killed_box_resets_live_and_queued_flows(pair: Pair, family: socket.AddressFamily) -> None:
    server = pair.server(family)
    with contextlib.ExitStack() as flows:
        live = [flows.enter_context(pair.connect(server, EAGER_PORT)) for _ in range(3)]
        assert all(map(echoes, live))
        pair.branch.signal(signal.SIGSTOP)
        late = [flows.enter_context(pair.connect(server, EAGER_PORT)) for _ in range(4)]
        queued = [sock for sock in late if pair.branch.reason(address_of(sock)) is None]
        ports = {address_of(sock) for sock in live}
        pair.branch.kill()
        assert all(map(is_reset, [*live, *queued]))
        assert not pair.branch.has_table()
        # The server is told as well, and not of a clean end.
        assert until(lambda: ports <= {end.client for end in pair.echo.ended})
        assert not [end for end in pair.echo.ended if end.client in ports and end.clean]
        with pair.connect(server, EAGER_PORT) as sock:
            assert echoes(sock)
            assert pair.branch.reason(address_of(sock)) == "data_plane_down"
            pair.branch.start()
            assert echoes(sock)  # a flow passed stays passed
            with pair.connect(server, EAGER_PORT) as again:
                assert echoes(again)
            assert pair.branch.accepted == 1


@BOTH
def test_a_dead_far_side(pair: Pair, family: socket.AddressFamily) -> None:
    server = pair.server(family)
    with pair.connect(server, EAGER_PORT) as live:
        assert echoes(live)
        pair.dc.kill()
        assert is_reset(live)
        assert until(lambda: any(not end.clean for end in pair.echo.ended))  # told by the kernel
        assert outcome(pair, server, EAGER_PORT) == "ECONNRESET"
        assert outcome(pair, server, EAGER_PORT) == "echo"


@BOTH
def test_a_hung_far_side(pair: Pair, family: socket.AddressFamily) -> None:
    """The near box gives up; the client's next try passes, through a far box that still holds all its rules."""
    server = pair.server(family)
    pair.dc.signal(signal.SIGSTOP)
    assert outcome(pair, server, EAGER_PORT) == "ECONNRESET"
    assert outcome(pair, server, EAGER_PORT) == "echo"
    assert pair.branch.accepted == 1


@BOTH
@pytest.mark.parametrize("flushed", [False, True], ids=["", "flushed"])
def test_orphans_whose_reset_was_lost_are_reset_by_the_fate_table(
    pair: Pair, family: socket.AddressFamily, flushed: bool
) -> None:
    """After a kill neither the client's bytes nor the server's may reach the other as if nothing had happened."""
    server = pair.server(family)
    deaf = (
        "table inet deaf {\n chain in {\n  type filter hook input priority 0;\n"
        "  tcp flags & rst == rst counter drop\n }\n}\n"
    )
    with pair.connect(server, EAGER_PORT) as live:
        assert echoes(live)
        if flushed:  # the sockets mark their flows again
            for box in (pair.branch, pair.dc):
                flush_conntrack(box.host)
            assert echoes(live)
        for host in (pair.lab.client, pair.lab.server):
            host.run(["nft", "-f", "-"], input=deaf, text=True, check=True)
        pair.branch.kill()
        pair.dc.kill()
        for host in (pair.lab.client, pair.lab.server):
            host.run(["nft", "delete", "table", "inet", "deaf"], check=True)
        try:
            live.sendall(b"to whom?")
        except ConnectionResetError:
            pass  # something of the server's came first, and the fate table has told the client already
        else:
            assert is_reset(live)
    assert [end.clean for end in pair.echo.ended] in ([], [False])


@BOTH
def test_a_fate_is_decided_once(pair: Pair, family: socket.AddressFamily) -> None:
    """A SYN sent while the data plane is dead and again when it is back belongs to one and the same, passed flow."""
    pair.branch.kill()
    wall = (
        "table inet wall {\n counter dropped {\n }\n chain in {\n  type filter hook input priority 0;\n"
        f"  tcp dport {EAGER_PORT} counter name dropped drop\n }}\n}}\n"
    )
    server = pair.lab.server
    server.run(["nft", "-f", "-"], input=wall, text=True, check=True)
    with pair.lab.client.socket(family) as sock:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect((pair.server(family), EAGER_PORT))

        def dropped() -> bool:
            listed = server.run(
                ["nft", "list", "counters"], capture_output=True, text=True, check=True
            ).stdout
            return "packets 0" not in listed

        assert until(dropped)
        pair.branch.start()
        server.run(["nft", "delete", "table", "inet", "wall"], check=True)
        sock.settimeout(5)
        assert echoes(sock)
        assert pair.branch.accepted == 0
        assert pair.branch.reason(address_of(sock)) == "data_plane_down"


@BOTH
def test_a_foreign_flush(pair: Pair, family: socket.AddressFamily) -> None:
    """`nft flush ruleset` cannot touch the owned table; the fate table is missed and put back."""
    server = pair.server(family)
    with pair.connect(server, EAGER_PORT) as live:
        assert echoes(live)
        pair.branch.host.run(["nft", "flush", "ruleset"], check=True)
        assert pair.branch.ask("present")
        assert not pair.branch.fate.present()
        with pair.connect(server, EAGER_PORT) as sock:
            assert echoes(sock)
        pair.branch.fate.apply(branch_spec())
        assert pair.branch.fate.present()
        assert echoes(live)
        assert pair.branch.accepted == 2
