"""What end hosts see when a data plane is killed, hangs, or its peer is gone: real boxes, under their supervisors.

Limits here are wide, because machines are shared; the time that each step took is printed (`-s`), and the last figures
stand in docs/RESULTS.md.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from appliance.intercept import passed_flows
from appliance.lab import Lab
from appliance.lab.pair import Box, Pair, Side
from tests.lab.plain_pair import ECHO_PORT, Echo, address_of, echoes, echoing, one_of, until

SERVERS = {socket.AF_INET: "10.2.0.2", socket.AF_INET6: "fd02::2"}
NFS_PORT = 760  # a client that always comes from the same port
Figure = Callable[[str, float], None]


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Notes how long something took, in seconds."""

    def note(name: str, seconds: float) -> None:
        record_property(name, f"{seconds:.2f} s")
        print(f"{name}: {seconds:.2f} s")

    return note


@pytest.fixture
def pair(lab: Lab, echo: Echo) -> Iterator[Pair]:
    with Pair(lab) as pair:
        yield pair


def connect(
    lab: Lab,
    family: socket.AddressFamily = socket.AF_INET,
    *,
    source_port: int = 0,
    port: int = ECHO_PORT,
    server: str = "",
) -> socket.socket:
    sock = lab.client.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(5)
        if source_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((lab.client.address(family), source_port))
        sock.connect((server or SERVERS[family], port))
    except BaseException:
        sock.close()
        raise
    return sock


def intercepted(pair: Pair) -> int:
    """Flows that the branch's data plane has taken since it started; -1 while it does not answer."""
    status = pair.branch.status()
    return int(status.get("flows_intercepted", status.get("data", {}).get("flows_intercepted", -1)))


def works(lab: Lab, family: socket.AddressFamily = socket.AF_INET, source_port: int = 0) -> bool:
    """Whether a client gets its echo, now."""
    try:
        with connect(lab, family, source_port=source_port) as sock:
            sock.settimeout(0.1)
            return echoes(sock)
    except OSError:
        return False


def optimised(lab: Lab, pair: Pair) -> bool:
    """Whether a new flow is taken by the branch's data plane."""
    with contextlib.suppress(OSError), connect(lab) as sock:
        return is_taken(pair, sock)
    return False


def is_taken(pair: Pair, sock: socket.socket) -> bool:
    name = list(address_of(sock))
    return echoes(sock) and any(
        flow["client"] == name for flow in pair.branch.call("flows", kind="optimised")
    )


def taken(
    lab: Lab, pair: Pair, family: socket.AddressFamily = socket.AF_INET, source_port: int = 0
) -> socket.socket:
    return one_of(lambda: connect(lab, family, source_port=source_port), lambda sock: is_taken(pair, sock))


def is_reset(sock: socket.socket) -> bool:
    """Waits for the end of a connection; True for a RST, False for a clean end."""
    sock.settimeout(30)
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionResetError:
        return True
    return False


def all_reset(socks: list[socket.socket]) -> bool:
    return all(is_reset(sock) for sock in socks)


def box_of(pair: Pair, name: str) -> Box:
    return pair.branch if name == "branch" else pair.dc


def until_timed(condition: Callable[[], object], within: float) -> float:
    began = time.monotonic()
    assert until(condition, within)
    return time.monotonic() - began


@pytest.mark.parametrize("name", ["branch", "dc"])
def test_a_killed_data_plane_resets_its_flows_and_new_ones_pass(
    lab: Lab, pair: Pair, echo: Echo, figure: Figure, name: str
) -> None:
    with contextlib.ExitStack() as stack:
        flows = [stack.enter_context(taken(lab, pair, family)) for family in SERVERS for _ in range(3)]
        assert all(echoes(sock, b"x" * 3000) for sock in flows)
        began = time.monotonic()
        box_of(pair, name).signal("data", signal.SIGKILL)
        figure(f"{name} killed: a new flow works after", until_timed(lambda: works(lab), 10))
        assert all_reset(flows)
        figure(f"{name} killed: flows under way were reset after", time.monotonic() - began)
        figure(
            f"{name} killed: new flows are optimised again after",
            until_timed(lambda: optimised(lab, pair), 20),
        )
        assert until(
            lambda: len([end for end in echo.ended if not end.clean]) >= len(flows), 10
        )  # the servers too


@pytest.mark.parametrize("name", ["branch", "dc"])
def test_a_hung_data_plane_is_passed_by_and_killed(lab: Lab, pair: Pair, figure: Figure, name: str) -> None:
    box = box_of(pair, name)
    with contextlib.ExitStack() as stack:
        flows = [stack.enter_context(taken(lab, pair)) for _ in range(3)]
        began = time.monotonic()
        hung = box.signal("data", signal.SIGSTOP)
        queued = []
        if (
            name == "branch"
        ):  # intercepted, but nobody accepts: these wait in the queue until the process is killed
            late = [stack.enter_context(connect(lab)) for _ in range(3)]
            passed = {flow.client for flow in lab.branch.call(passed_flows, 1000)}
            queued = [sock for sock in late if address_of(sock) not in passed]
        figure(f"{name} hung: a new flow works after", until_timed(lambda: works(lab), 10))
        assert until(lambda: not running(hung), 30)
        figure(f"{name} hung: killed by its supervisor after", time.monotonic() - began)
        assert all_reset(flows + queued)
        figure(f"{name} hung: its flows were reset after", time.monotonic() - began)
        figure(
            f"{name} hung: new flows are optimised again after", until_timed(lambda: optimised(lab, pair), 20)
        )


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("name", ["branch", "dc"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_client_with_a_fixed_port_comes_back(
    lab: Lab, pair: Pair, figure: Figure, name: str, number: signal.Signals
) -> None:
    sock = taken(lab, pair, source_port=NFS_PORT)
    box_of(pair, name).signal("data", number)
    assert is_reset(sock)
    sock.close()
    seconds = until_timed(lambda: works(lab, source_port=NFS_PORT), 10)
    figure(f"{name} {number.name}: a client with a fixed port is back after", seconds)
    assert until(lambda: optimised(lab, pair), 20)
    # Once more, now that flows are intercepted again.
    assert until(lambda: works(lab, source_port=NFS_PORT), 10)


def test_a_peer_that_is_gone_is_passed_by_and_named(lab: Lab, pair: Pair) -> None:
    assert until(lambda: optimised(lab, pair))
    pair.dc.stop()
    assert until(lambda: works(lab), 10)
    sock = connect(lab)
    with sock:
        assert echoes(sock)
        listed = lab.branch.call(passed_flows, 1000)
        assert [flow.reason.name for flow in listed if flow.client == address_of(sock)] == ["peer_down"]
    peer = pair.branch.call("peers")[0]
    assert peer["state"] in {"down", "silent", "connecting"}
    assert peer["reason"]
    pair.dc.start()
    pair.wait_up()
    assert until(lambda: optimised(lab, pair), 20)


def test_the_wan_is_cut_for_a_while_and_flows_go_on(lab: Lab, pair: Pair) -> None:
    with connect(lab) as sock:
        assert echoes(sock, b"before")
        lab.wan.cut()
        assert until(lambda: pair.branch.peer_state() != "up", 10)
        sock.sendall(b"during")
        lab.wan.restore()
        sock.settimeout(60)
        assert sock.recv(6) == b"during"
        assert until(lambda: pair.branch.peer_state() == "up", 60)
        assert echoes(sock, b"after")


def test_a_closed_port_is_refused_on_the_second_try_at_the_latest(lab: Lab, pair: Pair) -> None:
    outcomes = []
    for _ in range(2):
        try:
            with connect(lab, port=5999) as sock:
                outcomes.append(sock.recv(1))
        except OSError as error:
            outcomes.append(type(error).__name__.encode())
    assert outcomes[-1] == b"ConnectionRefusedError"


def test_an_unroutable_destination_is_told_on_the_second_try(lab: Lab, pair: Pair) -> None:
    seen = []
    for _ in range(2):
        try:
            with connect(lab, server="10.2.77.77") as sock:
                seen.append(repr(sock.recv(1)))
        except OSError as error:
            seen.append(error.strerror or str(error))
    assert seen[-1] in {"No route to host", "timed out"}  # as without us: the DC's router finds no neighbour


def test_a_silently_dropped_destination_is_told_on_the_second_try(lab: Lab, echo: Echo) -> None:
    hook = "add chain inet t in { type filter hook input priority 0; }"
    drop = f"add table inet t; {hook}; add rule inet t in tcp dport 5998 drop"
    lab.server.run(["nft", drop], check=True)
    seen = []
    with Pair(lab, dc=Side(limits={"open_timeout": 1})):
        for _ in range(2):
            try:
                with connect(lab, port=5998) as sock:
                    seen.append(repr(sock.recv(1)))
            except OSError as error:
                seen.append(type(error).__name__)
    assert seen == ["ConnectionResetError", "TimeoutError"]


def test_a_new_flow_needs_no_round_trip_of_its_own(new_lab: Callable[..., Lab]) -> None:
    rtt = 1.0
    lab = new_lab(rtt=rtt)
    with echoing(lab), Pair(lab):
        tries: list[float] = []
        while len(tries) < 3 and min(tries, default=9.9) >= 1.9 * rtt:  # a machine may be busy for a while
            began = time.monotonic()
            with connect(lab) as sock:
                assert echoes(sock)
            tries.append(time.monotonic() - began)
    assert rtt <= min(tries) < 1.9 * rtt


def test_bypass_lets_new_flows_pass_and_keeps_the_old_ones(lab: Lab, pair: Pair) -> None:
    with connect(lab) as old:
        assert echoes(old)
        pair.branch.call("bypass", on=True)
        with connect(lab) as new:
            assert echoes(new)
            listed = lab.branch.call(passed_flows, 1000)
            assert [flow.reason.name for flow in listed if flow.client == address_of(new)] == ["bypass"]
        assert echoes(old)
        pair.branch.call("bypass", on=False)
        assert until(lambda: optimised(lab, pair), 10)
        assert echoes(old)
