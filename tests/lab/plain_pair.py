"""Two relays in a lab, with what control would set up around them, and the client's and server's view."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import pickle
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal

from appliance.intercept import BoxSpec, PassedFlow, PeerSpec, RuleSpec, marks, netlink, passed_flows
from appliance.intercept.fate import Fate
from appliance.lab import Host, Lab
from appliance.lab.topology import WAN_ADDRESS
from tests.lab.plain_relay import LANE_PORT, Setup

ECHO_PORT = 5000
EAGER_PORT = 8080
PASS_PORT = 2222
KNOWN_PORT = 7000
FAMILIES = (socket.AF_INET, socket.AF_INET6)

# Peer 1 and 2 of the branch are two halves of the data centre's prefixes.
FIRST_HALF = (IPv4Network("10.2.0.0/17"), IPv6Network("fd02::/49"))
SECOND_HALF = (IPv4Network("10.2.128.0/17"), IPv6Network("fd02:0:0:8000::/49"))
SECOND_ADDRESS = {socket.AF_INET: "10.2.128.2", socket.AF_INET6: "fd02:0:0:8000::2"}
BRANCH = (IPv4Network("10.1.0.0/16"), IPv6Network("fd01::/48"))

RULES = (
    RuleSpec("eager", 0, "optimise", eager=True, ports=((EAGER_PORT, EAGER_PORT + 10),)),
    RuleSpec("pass", 1, "pass", ports=((PASS_PORT, PASS_PORT),)),
)


def branch_spec(**changes: Any) -> BoxSpec:
    """The branch's box: two peers, one eager rule, one that passes; `changes` go to both peers."""
    peers = tuple(
        PeerSpec(index, name, (half[0],), (half[1],), rules=RULES)
        for index, name, half in ((1, "dc", FIRST_HALF), (2, "annex", SECOND_HALF))
    )
    return box(peers, BRANCH, changes)


def dc_spec(**changes: Any) -> BoxSpec:
    """The data centre's box: the branch is its only peer."""
    return box((PeerSpec(1, "branch", (BRANCH[0],), (BRANCH[1],), rules=RULES),), FIRST_HALF, changes)


def box(
    peers: tuple[PeerSpec, ...], own: tuple[IPv4Network, IPv6Network], changes: dict[str, Any]
) -> BoxSpec:
    changed = tuple(PeerSpec(**{**vars(peer), **changes}) for peer in peers)
    return BoxSpec(("lan0",), (LANE_PORT,), changed, (own[0],), (own[1],))


def until(condition: Callable[[], Any], within: float = 20.0) -> bool:
    """Polls until the condition holds; False when it did not within so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.005)
    return True


def one_of(connect: Callable[[], socket.socket], wanted: Callable[[socket.socket], bool]) -> socket.socket:
    """The first of up to 20 connections that is as wanted: while the machine is busy, some pass."""
    for _ in range(20):
        sock = connect()
        if wanted(sock):
            return sock
        sock.close()
    raise AssertionError("none is as wanted")


class Box:
    """One relay process and the kernel state that control would keep around it."""

    def __init__(
        self, host: Host, spec: BoxSpec, there: Host, source: Literal["client", "box"] = "client"
    ) -> None:
        self.host = host
        self.spec = spec
        self.source: Literal["client", "box"] = source
        self._there = WAN_ADDRESS[there.name][0]
        self._relay: subprocess.Popen[str] | None = None
        for name, value in marks.SYSCTLS.items():
            host.sysctl(name, value)
        for family in ("-4", "-6"):
            host.run(["ip", family, "rule", "add", "fwmark", str(marks.DELIVER), "lookup", "100"], check=True)
            host.run(
                ["ip", family, "route", "add", "local", "default", "dev", "lo", "table", "100"], check=True
            )
        self.fate = host.call(Fate)
        self.fate.apply(spec)

    def start(self, backlog: int = 128) -> None:
        """Starts the relay and waits until it intercepts."""
        setup = Setup(self.spec, WAN_ADDRESS[self.host.name][0], self._there, self.source, backlog)
        pipe = subprocess.PIPE
        self._relay = self.host.python(
            "tests.lab.plain_relay", setup.encode(), stdin=pipe, stdout=pipe, text=True
        )
        assert self._read() == {"ready": True}

    def ask(self, do: str, **parameters: Any) -> Any:
        assert self._relay is not None
        assert self._relay.stdin is not None
        self._relay.stdin.write(json.dumps({"do": do, **parameters}) + "\n")
        self._relay.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._relay is not None
        assert self._relay.stdout is not None
        ready, _, _ = select.select([self._relay.stdout], [], [], 60)
        assert ready, "the relay does not answer"
        return json.loads(self._relay.stdout.readline())

    def update(self, spec: BoxSpec) -> None:
        """As a reload would: the fate table by control, the data table by its owner."""
        self.spec = spec
        self.fate.apply(spec)
        if self._relay is not None:
            self.ask("spec", spec=base64.b64encode(pickle.dumps(spec)).decode())

    @property
    def accepted(self) -> int:
        return int(self.ask("stats")["accepted"])

    def signal(self, number: signal.Signals) -> None:
        assert self._relay is not None
        self._relay.send_signal(number)

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        if self._relay is not None:
            self._relay.kill()
            self._relay.wait()
            for pipe in (self._relay.stdin, self._relay.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            self._relay = None

    def passed(self) -> list[PassedFlow]:
        return self.host.call(passed_flows, 10000, ended=True)

    def reason(self, client: tuple[str, int]) -> str | None:
        """The reason's name with which a client's flow was passed; None when it was not."""
        return next((flow.reason.name for flow in self.passed() if flow.client == client), None)

    def has_table(self) -> bool:
        listed = self.host.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
        return "table inet branchline" in listed.splitlines()

    def close(self) -> None:
        self.kill()
        self.fate.close()


@dataclass
class Ended:
    """How a connection ended, as the server saw it."""

    client: tuple[str, int]
    clean: bool


@dataclass
class Echo:
    """A server that sends back what it gets, and remembers how each connection ended."""

    host: Host
    seen: list[tuple[str, int]] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    open: dict[tuple[str, int], socket.socket] = field(default_factory=dict)
    _sockets: list[socket.socket] = field(default_factory=list)

    def listen(self, family: socket.AddressFamily, address: str, port: int) -> None:
        sock = self.host.socket(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(1024)
        self._sockets.append(sock)
        threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                sock, address = listening.accept()
            except OSError:
                return
            self.open[address[:2]] = sock
            self.seen.append(address[:2])
            threading.Thread(target=self._echo, args=(sock, address[:2]), daemon=True).start()

    def _echo(self, sock: socket.socket, client: tuple[str, int]) -> None:
        with sock:
            try:
                while data := sock.recv(1 << 16):
                    if data == b"bye":
                        break  # the server closes first
                    sock.sendall(data)
                self.ended.append(Ended(client, clean=True))
            except OSError:
                self.ended.append(Ended(client, clean=False))

    def close(self) -> None:
        for sock in self._sockets:
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._sockets.clear()


@contextlib.contextmanager
def echoing(lab: Lab) -> Iterator[Echo]:
    """An Echo on the server's addresses."""
    echo = Echo(lab.server)
    for family in FAMILIES:
        echo.listen(family, lab.server.address(family), ECHO_PORT)
    try:
        yield echo
    finally:
        echo.close()


class Pair:
    """A lab with two boxes."""

    def __init__(self, lab: Lab, source: Literal["client", "box"] = "client") -> None:
        self.lab = lab
        self.branch = Box(lab.branch, branch_spec(), lab.dc)
        self.dc = Box(lab.dc, dc_spec(), lab.branch, source)
        self.echo = Echo(lab.server)

    def start(self) -> None:
        self.dc.start()
        self.branch.start()

    def server(self, family: socket.AddressFamily) -> str:
        return self.lab.server.address(family)

    def connect(
        self, server: str, port: int, *, source_port: int = 0, timeout: float = 5.0, protocol: int = 0
    ) -> socket.socket:
        """The client's connection; raises what connect() raises."""
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        sock = self.lab.client.socket(family, socket.SOCK_STREAM, protocol)
        try:
            sock.settimeout(timeout)
            if source_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((self.lab.client.address(family), source_port))
            sock.connect((server, port))
        except BaseException:
            sock.close()
            raise
        return sock

    def close(self) -> None:
        self.echo.close()
        self.branch.close()
        self.dc.close()


@contextlib.contextmanager
def running(lab: Lab, source: Literal["client", "box"] = "client") -> Iterator[Pair]:
    """A pair with both relays up."""
    pair = Pair(lab, source)
    try:
        pair.start()
        yield pair
    finally:
        pair.close()


def echoes(sock: socket.socket, data: bytes = b"question") -> bool:
    """Whether the far end of the connection answers."""
    sock.sendall(data)
    received = b""
    while len(received) < len(data):
        more = sock.recv(len(data))
        if not more:
            return False
        received += more
    return received == data


def outcome(pair: Pair, server: str, port: int, timeout: float = 15.0) -> str:
    """What a client sees: "echo", "timeout" or the name of the error.

    An RST that follows upon the handshake is ECONNRESET, whether it comes before connect() has returned or after.
    """
    try:
        with pair.connect(server, port, timeout=timeout) as sock:
            return "echo" if echoes(sock) else "end of file"
    except TimeoutError:
        return "timeout"
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def address_of(sock: socket.socket) -> tuple[str, int]:
    name = sock.getsockname()
    return str(name[0]), int(name[1])


def flush_conntrack(host: Host) -> None:
    """What `conntrack -F` does."""

    def flush() -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_NETFILTER) as sock:
            netlink.request(sock, netlink.message(1 << 8 | 2, netlink.REQUEST | netlink.ACK, bytes(4)))

    host.call(flush)
