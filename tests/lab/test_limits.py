"""Beyond a limit new flows pass with its reason and open ones go on; a box that is told to stop lets them end."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from appliance.intercept import passed_flows
from appliance.lab import Lab
from appliance.lab.pair import EAGER, Pair, Side
from tests.lab.plain_pair import ECHO_PORT, Echo, address_of, echoes, echoing, until

SERVER = "10.2.0.2"
MB = 1 << 20


@pytest.fixture(scope="module")
def echo(module_lab: Lab) -> Iterator[Echo]:
    with echoing(module_lab) as echo:
        yield echo


class Limits:
    """The pair, with limits that a reload puts in force."""

    def __init__(self, lab: Lab, pair: Pair) -> None:
        self.lab = lab
        self.pair = pair

    def put(self, branch: Side | None = None, dc: Side | None = None) -> None:
        self.pair.branch.write(self.pair.dc, EAGER, branch or Side())
        self.pair.dc.write(self.pair.branch, EAGER, dc or Side())
        for box in self.pair.boxes:
            if box.pids("supervisor"):
                box.call("reload")
            else:
                box.start()

    def connect(self) -> socket.socket:
        sock = self.lab.client.socket()
        sock.settimeout(5)
        sock.connect((SERVER, ECHO_PORT))
        return sock

    def way(self) -> str:
        """What becomes of a new flow: "optimised", or the reason why it passes."""
        with self.connect() as sock:
            try:
                assert echoes(sock)
            except ConnectionResetError:  # it was on its way when the limit was told
                return "reset"
            name = address_of(sock)
            if any(
                tuple(flow["client"]) == name for flow in self.pair.branch.call("flows", kind="optimised")
            ):
                return "optimised"
            passed = self.lab.branch.call(passed_flows, 1000)
            return next(flow.reason.name for flow in passed if flow.client == name)


@pytest.fixture
def limits(module_lab: Lab, module_pair: Pair, echo: Echo) -> Limits:
    """With nothing limited; a box that the test before has stopped is started again."""
    limits = Limits(module_lab, module_pair)
    limits.put()
    module_pair.wait_up()
    assert until(lambda: limits.way() == "optimised", 10)
    return limits


@pytest.fixture
def flows(limits: Limits) -> Iterator[list[socket.socket]]:
    """Three open flows."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(limits.connect()) for _ in range(3)]
        assert all(echoes(sock) for sock in socks)
        yield socks


@pytest.mark.parametrize(("box", "reason"), [("branch", "flow_limit"), ("dc", "peer_limit")])
def test_new_flows_pass_at_the_limit_and_open_ones_go_on(
    limits: Limits, flows: list[socket.socket], box: str, reason: str
) -> None:
    limits.put(**{box: Side(limits={"flows": 3})})
    assert until(lambda: limits.way() == reason)
    assert all(echoes(sock) for sock in flows)
    assert [peer["state"] for peer in limits.pair.branch.call("peers")] == ["full"]
    for sock in flows[1:]:
        sock.close()
    assert until(lambda: limits.way() == "optimised")
    assert echoes(flows[0])
    kinds = {event["kind"] for event in getattr(limits.pair, box).events()}
    assert {"flows.passing", "flows.taken"} <= kinds
    if box == "dc":
        assert {"peer.full", "peer.taking"} <= {event["kind"] for event in limits.pair.branch.events()}


def test_a_higher_limit_is_in_force_at_once(limits: Limits, flows: list[socket.socket]) -> None:
    limits.put(Side(limits={"flows": 3}))
    assert until(lambda: limits.way() == "flow_limit")
    limits.put(Side(limits={"flows": 20}))
    assert until(lambda: limits.way() == "optimised")


def test_what_is_closed_is_refused_at_the_limit(limits: Limits, flows: list[socket.socket]) -> None:
    limits.put(Side(limits={"flows": 3}, peer={"on_failure": "closed"}))

    def refused() -> bool:
        try:
            limits.connect().close()
        except ConnectionRefusedError:
            return True
        return False

    assert until(refused)
    assert all(echoes(sock) for sock in flows)


def test_readers_that_sleep_leave_the_last_memory_to_open_flows(
    limits: Limits, echo: Echo, flows: list[socket.socket]
) -> None:
    """Each of them may hold 1 MB until it reads; at half of `memory` the slowest would be broken off."""
    limits.put(Side(limits={"memory": "16MiB"}))
    with contextlib.ExitStack() as stack:
        sleepers = [stack.enter_context(limits.lab.client.socket()) for _ in range(6)]
        for sleeper in sleepers:
            sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sleeper.connect((SERVER, ECHO_PORT))
        assert until(lambda: all(address_of(sleeper) in echo.open for sleeper in sleepers))

        def full() -> bool:
            for sleeper in sleepers:
                with contextlib.suppress(BlockingIOError):
                    echo.open[address_of(sleeper)].send(bytes(MB), socket.MSG_DONTWAIT)
            return bool(limits.pair.branch.call("peers")[0]["state"] == "full")

        assert until(full)
        assert until(lambda: limits.way() == "memory_limit")
        assert all(echoes(sock) for sock in flows)
        assert not any(event["kind"] == "flow.memory" for event in limits.pair.branch.events())
    assert until(lambda: limits.way() == "optimised")


@pytest.mark.parametrize("box", ["branch", "dc"])
def test_a_stop_lets_open_flows_end(limits: Limits, flows: list[socket.socket], box: str) -> None:
    side: dict[str, Any] = {box: Side(limits={"drain": "60s"})}
    limits.put(**side)
    stopping = getattr(limits.pair, box)
    stopping.signal("supervisor", signal.SIGTERM)
    assert until(lambda: limits.way() == "draining")
    assert all(echoes(sock) for sock in flows)
    status = stopping.status()
    assert status["data"]["limits"]["draining_until"] > status["since"]
    for sock in flows:
        sock.close()
    assert stopping.process.wait(10) == 0


def test_a_second_signal_does_not_wait(limits: Limits, flows: list[socket.socket]) -> None:
    limits.put(Side(limits={"drain": "60s"}))
    box = limits.pair.branch
    box.signal("supervisor", signal.SIGTERM)
    assert until(lambda: limits.way() == "draining")
    box.signal("supervisor", signal.SIGTERM)
    assert box.process is not None
    assert box.process.wait(10) == 0
    for sock in flows:
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
