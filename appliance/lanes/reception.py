"""Where peers' lanes arrive: accepts, lets TLS prove who it is, and hands the lane to its peer."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable

from appliance.lanes.lane import Lane
from appliance.loop import READ, Loop

REPORT_S = 10.0  # refusals of one address are reported once in this time


class Reception:
    """Listens on `endpoints` ((host, port) pairs); `owner_of(certificate)` is called once the key is proved."""

    def __init__(
        self,
        loop: Loop,
        endpoints: tuple[tuple[str, int], ...],
        adopt: Callable[[Lane], bool],
        report: Callable[[str, str], None],
        most: int,
    ) -> None:
        """`adopt(lane)` takes a lane by its certificate or says no; `report(remote, reason)` tells of a refusal.

        At most `most` connections may be without a proved identity. OSError when an endpoint cannot be bound.
        """
        self.context: ssl.SSLContext | None = None  # None: no peer is configured, nobody is let in
        self._loop = loop
        self._adopt = adopt
        self._report = report
        self._most = most
        self._strangers: set[Lane] = set()
        self._reported: dict[str, float] = {}
        self._listeners: list[socket.socket] = []
        try:
            for host, port in endpoints:
                self._listeners.append(_listen(host, port))
        except OSError:
            self.close()
            raise
        for listener in self._listeners:
            loop.register(listener.fileno(), READ, lambda _events, sock=listener: self._accept(sock))  # type: ignore[misc]

    def close(self) -> None:
        for lane in list(self._strangers):
            lane.close("closing", tell=False)
        self._strangers.clear()
        for listener in self._listeners:
            self._loop.unregister(listener.fileno())
            listener.close()
        self._listeners.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._tell("", f"cannot accept: {error.strerror}")
                return
            remote = f"{address[0]} {address[1]}"
            if self.context is None or len(self._strangers) >= self._most:
                self._tell(
                    address[0], "no peer is configured" if self.context is None else "too many at once"
                )
                sock.close()
                continue
            lane = Lane(self._loop, sock, self.context, self, dialler=False, remote=remote)
            self._strangers.add(lane)

    def lane_secure(self, lane: Lane) -> None:
        self._strangers.discard(lane)
        if not self._adopt(lane):
            self._tell(lane.remote.split()[0], "key: its peer is no longer configured")
            lane.close("refused", tell=False)

    def lane_frame(self, _lane: Lane, _kind: int, _body: bytes) -> None:
        raise AssertionError("a lane is handed over before its first frame")

    def lane_drained(self, _lane: Lane) -> None:
        """Nothing is sent before the hand-over."""

    def lane_lost(self, lane: Lane, reason: str) -> None:
        self._strangers.discard(lane)
        self._tell(lane.remote.split()[0], reason)

    def _tell(self, host: str, reason: str) -> None:
        now = self._loop.clock()
        if now - self._reported.get(host, -REPORT_S) >= REPORT_S:
            if len(self._reported) > 1000:
                self._reported.clear()
            self._reported[host] = now
            self._report(host, reason)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
