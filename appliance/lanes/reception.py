"""Where peers' lanes arrive: accepts, lets TLS prove who it is, and hands the lane to its peer."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable

from appliance.lanes.lane import Lane
from appliance.lanes.usher import Usher
from appliance.loop import READ, Loop

Endpoint = tuple[str, int]

SHORT_S = 1.0
REPORT_S = 10.0  # refusals of one address are reported once in this time


class Reception:
    """Accepts connections at a set of endpoints, and keeps those whose key is not proved yet."""

    def __init__(
        self,
        loop: Loop,
        adopt: Callable[[Lane], bool],
        report: Callable[[str, str], None],
        most: int,
    ) -> None:
        """`adopt(lane)` takes a lane by its certificate or says no; `report(remote, reason)` tells of a refusal.

        At most `most` connections may be without a proved identity, a quarter of them from one address or IPv6 /64.
        """
        self.context: ssl.SSLContext | None = None  # who is let in; before it is there, nobody
        self.usher: Usher | None = None  # where several processes listen at the same endpoints
        self._loop = loop
        self._adopt = adopt
        self._report = report
        self._most = most
        self._strangers: dict[Lane, str] = {}
        self._reported: dict[str, float] = {}
        self._listeners: dict[Endpoint, socket.socket] = {}

    def listen(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Listens at exactly these from now on. OSError when one cannot be bound: then nothing has changed."""
        opened: dict[Endpoint, socket.socket] = {}
        try:
            for endpoint in endpoints:
                if endpoint not in self._listeners:
                    opened[endpoint] = _listen(*endpoint, shared=self.usher is not None)
        except OSError:
            for sock in opened.values():
                sock.close()
            raise
        for endpoint in self._listeners.keys() - set(endpoints):
            sock = self._listeners.pop(endpoint)
            self._loop.unregister(sock.fileno())
            sock.close()
        for endpoint, sock in opened.items():
            self._listeners[endpoint] = sock
            self._watch(sock)

    def close(self) -> None:
        for lane in list(self._strangers):
            lane.close("closing", tell=False)
        self._strangers.clear()
        self.listen(())
        if self.usher is not None:
            self.usher.close()

    def _watch(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            self._loop.register(listener.fileno(), READ, lambda _events: self._accept(listener))

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Out of descriptors or memory: what waits can wait, and asking again at once would be all we do.
                self.refuse("", f"cannot accept: {error.strerror}; trying again in {SHORT_S:.0f} s")
                self._loop.unregister(listener.fileno())
                self._loop.call_later(SHORT_S, lambda: self._watch(listener))
                return
            host, remote = address[0], f"{address[0]} {address[1]}"
            if self.usher is None:
                self.admit(sock, host, remote)
            elif self._has_room(sock, host):
                self.usher.ask(sock, host, remote)

    def admit(self, sock: socket.socket, host: str, remote: str) -> None:
        """Lets a connection prove who it is, if there is room for one more that has not yet."""
        if self._has_room(sock, host) and self.context is not None:
            lane = Lane(self._loop, sock, self.context, self, dialler=False, remote=remote)
            self._strangers[lane] = host

    def _has_room(self, sock: socket.socket, host: str) -> bool:
        strangers = [*self._strangers.values(), *(self.usher.waiting() if self.usher else ())]
        neighbours = sum(_network(stranger) == _network(host) for stranger in strangers)
        alone = neighbours < max(1, self._most // 4)
        if self.context is not None and len(strangers) < self._most and alone:
            return True
        self.refuse(host, "not ready yet" if self.context is None else "too many at once")
        sock.close()
        return False

    def lane_secure(self, lane: Lane) -> None:
        self._strangers.pop(lane, None)
        if not self._adopt(lane):
            self.refuse(lane.remote.split()[0], "key: its peer is no longer configured")
            lane.close("refused", tell=False)

    def lane_frame(self, _lane: Lane, _kind: int, _body: bytes) -> None:
        raise AssertionError("a lane is handed over before its first frame")

    def lane_faulty(self, lane: Lane, reason: str) -> None:
        lane.close(f"protocol: {reason}")

    def lane_drained(self, _lane: Lane) -> None:
        """Nothing is sent before the hand-over."""

    def lane_lost(self, lane: Lane, reason: str) -> None:
        self._strangers.pop(lane, None)
        self.refuse(lane.remote.split()[0], reason)

    def refuse(self, host: str, reason: str) -> None:
        """Tells of a refusal, if that address was not heard of just before."""
        now = self._loop.clock()
        if now - self._reported.get(host, -REPORT_S) >= REPORT_S:
            if len(self._reported) > 1000:
                self._reported.clear()
            self._reported[host] = now
            self._report(host, reason)


def _network(host: str) -> str:
    """Who has one address of an IPv6 /64 has all of them."""
    if ":" not in host:
        return host
    return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:8].hex()


def _listen(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with contextlib.suppress(OSError):  # inherited by what is accepted; not every kernel has it
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
        sock.bind((host, port))
        sock.listen(64)
    except OSError as error:
        sock.close()
        raise OSError(
            error.errno, f"cannot listen for lanes on {host} port {port}: {error.strerror}"
        ) from error
    return sock
