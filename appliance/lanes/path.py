"""The lanes of one path to a peer: those that are greeted, and the dialling of those that are missing or stale."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
import ssl
from collections.abc import Iterator

from appliance.config.schema import Path as PathConfig
from appliance.intercept.backoff import BackOff
from appliance.lanes.kernel import send_small
from appliance.lanes.lane import KEY_REFUSED, Lane, Owner
from appliance.lanes.link import Role
from appliance.loop import Loop, Timer

FIRST_RETRY_S = 0.2
LAST_RETRY_S = 5.0
STRANGE_RETRY_S = 30.0  # where the other box speaks no version of ours, until somebody updates one of them
ALIVE_S = 0.3  # without a word, after which a path may be cut
SURE_S = 0.5  # for which large packets are lost until that is taken for true,
DOUBT_S = 60.0  # after which the first of them counts no longer
SMALL_S = (
    600.0  # after which a path is tried with large packets again; twice as long each time that they get lost
)
SMALL_MOST_S = 86400.0
SMALL_MARGIN_S = 5.0  # by which the box that dials is later with that: its peer must not contradict it
SMALL_PACKETS = "path.small"  # the event that says that a path is used with small packets
CONNECT_S = 1.0  # for the peer's host to answer a SYN, where the round trip is not known to be long
CONNECT_RTTS = 3
SHORT_LIFE_S = 0.2  # a lane that lived longer is dialled again at once
ANSWERS = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE)  # only a living host says so


class PathLanes:
    """Sockets and timers; which path is used, and what its lanes carry, is decided elsewhere."""

    def __init__(
        self, loop: Loop, config: PathConfig, owner: Owner, context: ssl.SSLContext, *, configured: bool
    ) -> None:
        self.config = config
        self.configured = configured  # else the peer named it
        self.lanes: dict[Role, Lane] = {}
        self.rtt = 0.0
        self.reason = "no lane has been opened yet"
        self.refused = False  # every endpoint answered, and nobody there wants us
        self.proved = False  # it has carried lanes of this association
        self.strange = False  # whoever answers there speaks no version that is known here
        self.small = False  # it swallows large packets: lanes send small ones
        self._doubted = -math.inf  # when a lane last looked as if it did
        self._small_for = BackOff(SMALL_S, SMALL_MOST_S)
        self._small_timer: Timer | None = None
        self._loop = loop
        self._owner = owner
        self.context = context
        self._attempts: dict[Role, Lane] = {}
        self._limits: dict[Role, Timer] = {}
        self._retries: dict[Role, Timer] = {}
        self._delay = dict.fromkeys(Role, FIRST_RETRY_S)
        self._stale: set[Role] = set()
        self._began: dict[Role, float] = {}
        self._next = dict.fromkeys(Role, 0)  # each tries the endpoints in turn
        self._refusing: set[int] = set()
        self._closed = False

    @property
    def name(self) -> str:
        return str(self.config.name)

    @property
    def ready(self) -> bool:
        return len(self.lanes) == len(Role)

    def all(self) -> Iterator[Lane]:
        yield from {*self.lanes.values(), *self._attempts.values()}

    def start(self, delay: float = 0.0) -> None:
        for role in Role:
            self._dial_later(role, delay)

    def close(self) -> None:
        """Stops dialling; the lanes are the caller's to close."""
        self._closed = True
        for timer in (*self._retries.values(), *self._limits.values()):
            timer.cancel()
        if self._small_timer is not None:
            self._small_timer.cancel()

    def redial(self) -> None:
        """Opens new lanes beside those that may be dead: an address may have changed, or a NAT may have forgotten."""
        self._stale.update(Role)
        for role in Role:
            if role not in self._attempts:
                self._delay[role] = FIRST_RETRY_S
                self._dial_later(role, 0.0)

    def doubt(self, lane: Lane) -> bool:
        """A lane's large packets seem to get lost. True, and new lanes are opened, when it stays so and is no cut."""
        now = self._loop.now
        if self.small or now - max((one.heard for one in self.lanes.values()), default=lane.heard) > ALIVE_S:
            return False
        if now - self._doubted > DOUBT_S:
            self._doubted = now
        if now - self._doubted < SURE_S:
            return False
        self.use_small()
        return True

    def use_small(self) -> None:
        """Opens new lanes, which send packets of 1280 bytes at most. In a while large ones are tried again."""
        self.small = True
        self.redial()
        seconds = self._small_for.failed("large packets", self._loop.now)
        if self.config.dial:
            seconds += SMALL_MARGIN_S
        if self._small_timer is not None:
            self._small_timer.cancel()
        self._small_timer = self._loop.call_later(seconds, self._use_large)

    def _use_large(self) -> None:
        self.small, self._doubted = False, -math.inf
        self.redial()

    def recovered(self) -> None:
        """The old lanes answer again."""
        self._stale.clear()

    def greeted(self, lane: Lane, role: Role) -> Lane | None:
        """Takes a lane whose HELLO has come; returns the one that it replaces."""
        older = self.lanes.get(role)
        self.lanes[role] = lane
        self._attempts.pop(role, None)
        limit = self._limits.pop(role, None)
        if limit is not None:
            limit.cancel()
        self._stale.discard(role)
        self._began[role] = self._loop.now
        self._refusing.clear()
        self.refused, self.proved, self.strange = False, True, False
        self.rtt = lane.kernel_view().rtt
        return older

    def lost(self, lane: Lane, reason: str) -> bool:
        """A lane of this path has ended; dials it again. Whether it was the one in its place."""
        for role, attempt in list(self._attempts.items()):
            if attempt is lane:
                del self._attempts[role]
                self._limits.pop(role).cancel()
                self.reason = reason
                self._not_reached(role, refused=lane.error == errno.ECONNREFUSED or reason == KEY_REFUSED)
                self._retry(role)
        for role, open_lane in list(self.lanes.items()):
            if open_lane is lane:
                del self.lanes[role]
                self.reason = reason
                self._delay[role] = FIRST_RETRY_S
                lived = self._loop.now - self._began[role]
                self._dial_later(role, 0.0 if lived > SHORT_LIFE_S else FIRST_RETRY_S)
                return True
        return False

    def _not_reached(self, role: Role, *, refused: bool) -> None:
        endpoints = len(self.config.dial)
        if refused:
            self._refusing.add(self._next[role] % max(1, endpoints))
        else:
            self._refusing.clear()
        self._next[role] += 1
        self.refused = len(self._refusing) >= endpoints > 0

    def _retry(self, role: Role) -> None:
        delay = self._delay[role]
        self._delay[role] = min(2 * delay, STRANGE_RETRY_S if self.strange else LAST_RETRY_S)
        self._dial_later(role, delay)

    def _dial_later(self, role: Role, delay: float) -> None:
        if self._closed or not self.config.dial:
            return
        old = self._retries.get(role)
        if old is not None:
            old.cancel()
        self._retries[role] = self._loop.call_later(delay, lambda: self._dial(role))

    def _dial(self, role: Role) -> None:
        if self._closed or role in self._attempts or (role in self.lanes and role not in self._stale):
            return
        endpoint = self.config.dial[self._next[role] % len(self.config.dial)]
        remote = f"{endpoint.host} {endpoint.port}"
        try:
            sock = _connecting(self.config, endpoint.host, endpoint.port, small=self.small)
        except OSError as error:
            self.reason = f"{error.strerror or error}: {remote}"
            self._not_reached(role, refused=error.errno == errno.ECONNREFUSED)
            self._retry(role)
            return
        lane = Lane(self._loop, sock, self.context, self._owner, dialler=True, remote=remote)
        lane.path, lane.role = self.name, role
        self._attempts[role] = lane
        self._limits[role] = self._loop.call_later(
            max(CONNECT_S, CONNECT_RTTS * self.rtt), lambda: self._too_late(lane, role)
        )

    def _too_late(self, lane: Lane, role: Role) -> None:
        """The kernel would ask more and more rarely; a path that comes back is found within a second."""
        if not lane.connected and not lane.closed:
            self._delay[role] = 0.0
            lane.close(f"{lane.remote.split()[0]} does not answer")
            self._delay[role] = FIRST_RETRY_S


def _connecting(config: PathConfig, host: str, port: int, *, small: bool) -> socket.socket:
    """A socket on its way to an endpoint; OSError where that fails at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # not every kernel has it, or lets us
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
        if small:
            send_small(sock)
        if config.interface is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, config.interface.encode() + b"\0")
        if config.source is not None:
            sock.bind((str(config.source), 0))
        result = sock.connect_ex((host, port))
        if result not in (0, errno.EINPROGRESS):
            raise OSError(result, os.strerror(result))
    except OSError:
        sock.close()
        raise
    return sock
