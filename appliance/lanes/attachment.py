"""The lanes of one peer: dialling, greeting, heartbeats, and which session each carries.

A peer is up while both of its sessions have a lane and something was heard of it lately. Losing a lane loses
nothing: the next one goes on where the peer stopped (see `session`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
from typing import Protocol

from appliance.lanes import frames, sounding
from appliance.lanes.frames import MAX_FRAME, OLDEST_VERSION, VERSION, Address, Hello, Kind, ProtocolError
from appliance.lanes.lane import KEY_REFUSED, Lane
from appliance.lanes.link import Link, Outcome, Role
from appliance.loop import Loop, Timer

FIRST_RETRY_S = 0.2
LAST_RETRY_S = 5.0
GREETING_S = 5.0
LOST_HEARTBEATS = 16  # a lane that was silent for so long is given up: a NAT may have forgotten it
STRANGE_LANES = 8  # of one peer that have not said HELLO
MOST_BACKLOG = 1 << 20  # bytes at which a peer that does not read gets no answer to its PINGs
VIOLATIONS = 3  # of the protocol in one association that end it
SILENT_HEARTBEATS = 3
FEATURES = ["lz4", "zstd", "resume", sounding.FEATURE]
_TOKEN = 0x3FFF_FFFF_FFFF


class Sessions(Protocol):
    """The peer, as its lanes see it."""

    def greeting(self, role: Role) -> Hello: ...

    def begin(self, hello: Hello) -> None: ...

    def resume(self, role: Role, received: int) -> list[bytes]: ...

    def end(self, reason: str) -> None: ...

    def take(self, role: Role, kind: int, body: bytes) -> None: ...

    def drained(self) -> None: ...

    def changed(self, state: str, reason: str) -> None: ...

    def warn(self, kind: str, text: str, evidence: dict[str, object]) -> None: ...

    def progress(self) -> int: ...

    def sounded(self, lane: Lane, kind: int, body: bytes) -> None: ...


class Attachment:
    """Keeps one express and one bulk lane to a peer; dials when `dial` has endpoints, else waits for the peer."""

    def __init__(
        self,
        loop: Loop,
        link: Link,
        sessions: Sessions,
        dial: tuple[Address, ...],
        context: ssl.SSLContext,
        heartbeat: float,
    ) -> None:
        self.link = link
        self.lanes: dict[Role, Lane] = {}
        self.state = "connecting"
        self.reason = "no lane has been opened yet"
        self.since = loop.now
        self.rtt = 0.0
        self.hello: Hello | None = None
        self.lost_bytes = [0, 0]  # in and out, of lanes that are gone
        self._loop = loop
        self._sessions = sessions
        self._dial = dial
        self._context = context
        self.heartbeat = heartbeat
        self._greeted: dict[Lane, Timer] = {}
        self._dialled: dict[Lane, Role] = {}
        self._retry: dict[Role, float] = dict.fromkeys(Role, FIRST_RETRY_S)
        self._retry_timers: dict[Role, Timer] = {}
        self._paths = dict.fromkeys(Role, 0)
        self._beat_due = loop.now
        self._violations = (0, -1)  # how many at this point of the association's progress
        self._refusals = 0  # endpoints in a row that answered and refused
        self._unreachable = False  # and said so
        self._beats = 0
        self._tick: Timer | None = None
        self._closed = False

    @property
    def up(self) -> bool:
        return self.state == "up"

    def start(self) -> None:
        self._beat_due = self._loop.clock() + self.heartbeat
        self._tick = self._loop.call_later(self.heartbeat, self._beat)
        if self._dial:
            for role in Role:
                self._open(role)

    def close(self, reason: str) -> None:
        """Says BYE on every lane and stops dialling."""
        self._closed = True
        if self._tick:
            self._tick.cancel()
        for timer in self._retry_timers.values():
            timer.cancel()
        for lane in self.lanes.values():
            lane.send(frames.bye(reason))
        self._drop_all(reason)

    def adopt(self, lane: Lane) -> None:
        """An accepted lane whose key is this peer's; its HELLO is due."""
        if self._closed or self._dial:
            reason = "this box dials that peer; leave `dial` empty on one side" if self._dial else "closing"
            lane.send(frames.bye(reason))
            lane.close(reason, tell=False)
            return
        lane.owner = self
        self._expect_hello(lane)

    def send(self, role: Role, frame: bytes) -> None:
        lane = self.lanes.get(role)
        if lane is not None:
            lane.send(frame)

    # What the lanes tell.

    def lane_secure(self, lane: Lane) -> None:
        role = self._dialled[lane]
        lane.send(frames.hello(self._greeting(role)))
        self._expect_hello(lane)

    def lane_frame(self, lane: Lane, kind: int, body: bytes) -> None:
        if lane.role is None:
            self._greet(lane, kind, body)
        elif kind >= frames.FIRST_SESSION_KIND or kind == Kind.ACK:
            self._sessions.take(lane.role, kind, body)
        elif kind == Kind.PING:
            token = frames.read_numbers(body, 1)[0]
            if lane.backlog < MOST_BACKLOG:
                lane.send(frames.pong(token))
        elif kind == Kind.PONG:
            self._ponged(lane, frames.read_numbers(body, 1)[0])
        elif kind in (Kind.SOUND, Kind.DEPTH):
            self._sessions.sounded(lane, kind, body)
        elif kind == Kind.BYE:
            lane.close(f"the peer said: {body.decode(errors='replace')}")
        else:
            raise ProtocolError(f"{Kind(kind).name} in the middle of a lane")

    def lane_drained(self, lane: Lane) -> None:
        if lane.role is Role.BULK:
            self._sessions.drained()

    def lane_faulty(self, lane: Lane, reason: str) -> None:
        """The peer broke the protocol on a lane. The association may go on once; not when it stays at that point."""
        self._sessions.warn("lane.protocol", f"lane closed: {reason}", {"remote": lane.remote})
        count, at = self._violations
        progress = self._sessions.progress()
        self._violations = (count + 1 if at == progress else 1, progress)
        lane.close(f"protocol: {reason}")
        if self._violations[0] >= VIOLATIONS:
            self.restart("the peer sends the same nonsense again and again")

    def lane_lost(self, lane: Lane, reason: str) -> None:
        dialled = self._dialled.get(lane)
        self._forget(lane)
        self._judge(reason)
        if dialled is None or self._closed:
            return
        self._not_reached(lane.error, reason, lane.remote)
        self._retry_later(dialled)

    def _not_reached(self, error: int, reason: str, remote: str) -> None:
        if error == errno.ECONNREFUSED or reason == KEY_REFUSED:
            self._refusals += 1
            if self._refusals >= len(self._dial):
                # The host answers everywhere and nobody listens: the process that held our streams is gone.
                self.expire(f"the peer's data plane is gone: {reason}")
        if self.state == "connecting" and not self._unreachable:
            self._unreachable = True
            evidence: dict[str, object] = {"remote": remote}
            self._sessions.warn("peer.unreachable", f"no lane yet: {reason}; trying on", evidence)

    def _forget(self, lane: Lane) -> None:
        timer = self._greeted.pop(lane, None)
        if timer is not None:
            timer.cancel()
        self._dialled.pop(lane, None)
        if lane.role is not None and self.lanes.get(lane.role) is lane:
            del self.lanes[lane.role]
        self.lost_bytes[0] += lane.bytes_in
        self.lost_bytes[1] += lane.bytes_out

    # Greeting.

    def _greeting(self, role: Role) -> Hello:
        hello = self._sessions.greeting(role)
        hello.version, hello.oldest = VERSION, OLDEST_VERSION
        hello.box, hello.incarnation = self.link.box, self.link.incarnation
        hello.association, hello.begun = self.link.association, self.link.begun
        hello.role, hello.features = int(role), FEATURES
        return hello

    def _expect_hello(self, lane: Lane) -> None:
        if len(self._greeted) >= STRANGE_LANES:
            next(iter(self._greeted)).close("too many lanes without a HELLO")
        late = f"no HELLO within {GREETING_S:.0f} s"
        self._greeted[lane] = self._loop.call_later(GREETING_S, lambda: lane.close(late))

    def _greet(self, lane: Lane, kind: int, body: bytes) -> None:
        if kind == Kind.BYE:
            reason = body.decode(errors="replace")
            self._sessions.warn("lane.refused", f"the peer refused a lane: {reason}", {"remote": lane.remote})
            lane.close(f"the peer said: {reason}")
            return
        if kind != Kind.HELLO:
            raise ProtocolError(f"the first frame is of kind {kind}, not HELLO")
        hello = frames.read_hello(body)
        verdict = self.link.on_hello(hello)
        if verdict.outcome is Outcome.REFUSE:
            self._sessions.warn("lane.refused", f"lane refused: {verdict.reason}", {"remote": lane.remote})
            lane.send(frames.bye(verdict.reason))
            lane.close(f"refused: {verdict.reason}")
            return
        if verdict.outcome is Outcome.RESTART:
            self.restart(verdict.reason)
            return
        self.hello = hello
        if verdict.outcome is Outcome.FRESH:
            if not self.link.dialler:
                self._drop(list(self.lanes.values()), "a new association has begun")
            try:
                self._sessions.begin(hello)
            except ProtocolError:
                self.link.begin_anew()  # it has not begun
                raise
        self._attach(lane, Role(hello.role), hello)

    def _attach(self, lane: Lane, role: Role, hello: Hello) -> None:
        try:
            again = self._sessions.resume(role, hello.received)
        except ProtocolError as error:
            self.restart(f"the sessions do not fit: {error}")
            return
        self._greeted.pop(lane).cancel()
        older = self.lanes.get(role)
        if older is not None:
            older.close("replaced by a newer lane", tell=False)
            self._forget(older)
        lane.role = role
        lane.accept_frames(MAX_FRAME)
        self.lanes[role] = lane
        if not lane.dialler:
            lane.send(frames.hello(self._greeting(role)))
        for frame in again:
            lane.send(frame)
        self._retry[role] = FIRST_RETRY_S
        self._refusals = 0
        self._judge("")
        if role is Role.BULK:
            self._sessions.drained()

    def restart(self, reason: str) -> None:
        """The association is over: its streams end in RST, and the next lanes begin another."""
        self.link.begin_anew()
        self._sessions.end(reason)
        self._drop_all(reason)
        if self._dial and not self._closed:
            for role in Role:
                self._retry_later(role)

    def expire(self, reason: str) -> None:
        """The peer has been away for too long: what was held for it is given up."""
        if self.link.established and self.state != "up":
            self.restart(reason)

    def _drop_all(self, reason: str) -> None:
        self._drop([*{*self.lanes.values(), *self._greeted, *self._dialled}], reason)

    def _drop(self, lanes: list[Lane], reason: str) -> None:
        for lane in lanes:
            lane.close(reason, tell=False)
            self._forget(lane)
        self._judge(reason)

    # Dialling.

    def _open(self, role: Role) -> None:
        if self._closed or role in self._dialled.values():
            return
        host, port = self._dial[self._paths[role] % len(self._dial)]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            self._judge(error.strerror or str(error))
            self._retry_later(role)
            return
        with contextlib.suppress(OSError):  # not every kernel has it, or lets us
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
        result = sock.connect_ex((host, port))
        if result not in (0, errno.EINPROGRESS):
            sock.close()
            self._judge(f"{os.strerror(result)}: {host} {port}")
            self._not_reached(result, os.strerror(result), f"{host} {port}")
            self._retry_later(role)
            return
        lane = Lane(self._loop, sock, self._context, self, dialler=True, remote=f"{host} {port}")
        self._dialled[lane] = role

    def _retry_later(self, role: Role) -> None:
        old = self._retry_timers.get(role)
        if old is not None:
            old.cancel()
        delay = self._retry[role]
        self._retry[role] = min(2 * delay, LAST_RETRY_S)
        self._paths[role] += 1
        self._retry_timers[role] = self._loop.call_later(delay, lambda: self._open(role))

    # Heartbeats.

    def _beat(self) -> None:
        now = self._loop.clock()
        late = now - self._beat_due
        self._beat_due = now + self.heartbeat / 2  # twice as often as pings, to notice silence soon
        self._tick = self._loop.call_later(self.heartbeat / 2, self._beat)
        self._beats += 1
        for role, lane in list(self.lanes.items()):
            if late > self.heartbeat:
                lane.heard = max(
                    lane.heard, now - self.heartbeat
                )  # we were late ourselves: that is no silence
            # The bulk lane is asked rarely: it only has to be kept from being forgotten on the way.
            if self._beats % (2 if role is Role.EXPRESS else 16) == 0 and not lane.backlog:
                lane.send(frames.ping(int(now * 1e6) & _TOKEN))
            if now - max(lane.heard, lane.taken_at) > LOST_HEARTBEATS * self.heartbeat * (1 + role):
                lane.close(f"nothing came over the {role.name.lower()} lane for {now - lane.heard:.1f} s")
        self._judge("")

    def _ponged(self, lane: Lane, token: int) -> None:
        sample = ((int(self._loop.clock() * 1e6) - token) & _TOKEN) / 1e6
        if lane.role is Role.EXPRESS:
            self.rtt = sample if not self.rtt else self.rtt + (sample - self.rtt) / 4

    def _judge(self, reason: str) -> None:
        silent = self._loop.clock() - max((lane.heard for lane in self.lanes.values()), default=0.0)
        if len(self.lanes) < len(Role):
            state = "connecting" if self.state == "connecting" else "down"
        elif silent > SILENT_HEARTBEATS * self.heartbeat:
            state, reason = "silent", f"nothing heard for {silent:.1f} s, though the lanes are open"
        else:
            state, reason = "up", ""
        if state == self.state:
            if reason:
                self.reason = reason
            return
        self.state, self.since = state, self._loop.clock()
        self._unreachable = self._unreachable and state != "up"
        self.reason = "" if state == "up" else reason or self.reason
        self._sessions.changed(state, self.reason)
