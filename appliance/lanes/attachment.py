"""How a peer's sessions come to their lanes: greeting, attaching, heartbeats, and the move to another path.

Every path has a lane for each session, greeted and idle; those of one path carry the sessions. Losing a lane
loses nothing: the session goes on over the next one where the peer stopped (see `session`). A lane carries its
session once; when the session has left, the lane is closed, and another takes its place.
"""

from __future__ import annotations

import math
import ssl

from appliance.config.schema import Path as PathConfig
from appliance.config.values import Name
from appliance.events import Severity
from appliance.lanes import frames, hedging, sounding, tending
from appliance.lanes.carriage import Carriage, Sessions
from appliance.lanes.choice import Changed, Choice, Probe, Redial, Use
from appliance.lanes.frames import (
    FULL_FEATURE,
    MAX_FRAME,
    OLDEST_VERSION,
    SITE_FEATURE,
    VERSION,
    Hello,
    Kind,
    ProtocolError,
    Site,
)
from appliance.lanes.lane import Lane
from appliance.lanes.link import Link, Outcome, Role
from appliance.lanes.path import ANSWERS, FIRST_RETRY_S, SMALL_PACKETS, PathLanes
from appliance.lanes.session import SessionError
from appliance.lanes.standing import SILENT, Standing, State
from appliance.lanes.watch import Health, PathWatch
from appliance.loop import Loop, Timer

GREETING_S = 5.0
MOST_PATHS = 16  # of one peer
STRANGE_LANES = 2 * MOST_PATHS  # of one peer that have not said HELLO
MOST_BACKLOG = 1 << 20  # bytes at which a peer that does not read gets no answer to its PINGs and SOUNDs
VIOLATIONS = 3  # of the protocol in one association that end it
BULK_PING_S = 1.0  # a lane whose connection has been forgotten on the way is found by asking
STUCK_S = 5.0  # for what was sent to show that it does not arrive
FORGOTTEN_S = 150.0  # a lane that stands by is given up by the dialled box after so long without a word
FEATURES = ["lz4", "zstd", "resume", sounding.FEATURE, SITE_FEATURE, FULL_FEATURE, hedging.FEATURE]
_TOKEN = 0x3FFF_FFFF_FFFF


class Attachment:
    """Keeps lanes to a peer on every path; dials when `paths` has endpoints, else waits for the peer."""

    def __init__(
        self,
        loop: Loop,
        link: Link,
        sessions: Sessions,
        paths: tuple[PathConfig, ...],
        context: ssl.SSLContext,
        heartbeat: float,
    ) -> None:
        self.link = link
        self._carriage = Carriage(sessions)
        self.lanes = self._carriage.lanes  # that carry the sessions
        self.hedging = hedging.Hedging(sessions)
        self.paths: dict[str, PathLanes] = {}
        self.choice = Choice(heartbeat, decides=link.dialler)
        self.state = State.CONNECTING
        self.reason = "no lane has been opened yet"
        self.since = loop.now
        self.hello: Hello | None = None
        self.lost_bytes = [0, 0]  # in and out, of lanes that are gone
        self.switches = 0  # from one path to another
        self._over = ""  # the path that people were told of last
        self._loop = loop
        self._sessions = sessions
        self._context = context
        self._standing = Standing()
        self._greeting_timers: dict[Lane, Timer] = {}
        self._last_heard = -math.inf
        self._violations = (0, -1)  # how many at this point of the association's progress
        self._unreachable = False  # and said so
        self._timer: Timer | None = None
        self._due = math.inf
        self._judging = False
        self._closed = False
        for config in paths:
            self._add_path(config, configured=True)

    @property
    def up(self) -> bool:
        return self.state is State.UP

    @property
    def rtt(self) -> float:
        """Of the path in use, seconds; 0 while it is not known."""
        used = self.choice.paths.get(self.choice.used)
        return used.rtt if used is not None else 0.0

    @property
    def heartbeat(self) -> float:
        return self.choice.interval

    @heartbeat.setter
    def heartbeat(self, seconds: float) -> None:
        self.choice.interval = seconds

    def start(self) -> None:
        for path in self.paths.values():
            path.start()
        self._beat()

    def close(self, reason: str) -> None:
        """Says BYE on every lane and stops dialling."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        for path in self.paths.values():
            path.close()
            for lane in path.lanes.values():
                lane.send(frames.bye(reason))
        self._drop_all(reason)

    def configure(self, paths: tuple[PathConfig, ...]) -> None:
        """Takes over what has changed of the paths; the sessions leave one that is gone as if it had failed."""
        names = {str(config.name) for config in paths}
        for path in [path for path in self.paths.values() if path.configured and path.name not in names]:
            if self.link.dialler:
                self._remove_path(path, "the path is no longer configured")
            else:
                path.config, path.configured = PathConfig(name=path.config.name), False
        for config in paths:
            if str(config.name) not in self.paths:
                self._add_path(config, configured=True).start()
                continue
            path = self.paths[str(config.name)]
            before, path.config, path.configured = path.config, config, True
            watch = self.choice.paths[path.name]
            watch.cost, watch.metered = config.cost, config.metered
            if (before.dial, before.interface, before.source) != (
                config.dial,
                config.interface,
                config.source,
            ):
                path.redial()
        self._judge_soon()

    def adopt(self, lane: Lane) -> None:
        """An accepted lane whose key is this peer's; its HELLO is due."""
        if self._closed or self.link.dialler:
            reason = "this box dials that peer; one box dials, the other does not"
            lane.send(frames.bye("closing" if self._closed else reason))
            lane.close(reason, tell=False)
            return
        lane.owner = self
        self._expect_hello(lane)

    def send(self, role: Role, frame: bytes) -> None:
        lane = self.lanes.get(role)
        if lane is not None:
            lane.send(frame)

    def secure(self, context: ssl.SSLContext) -> None:
        """Dials with other keys from now on; lanes that are open stay."""
        self._context = context
        for path in self.paths.values():
            path.context = context

    def redial(self) -> None:
        """Opens new lanes beside those there are, and moves what these carry."""
        for path in self.paths.values():
            path.redial()

    def standby(self) -> list[Lane]:
        """Lanes that are greeted and carry nothing."""
        carrying = set(self.lanes.values())
        return [lane for path in self.paths.values() for lane in path.lanes.values() if lane not in carrying]

    # Paths.

    def _add_path(self, config: PathConfig, *, configured: bool) -> PathLanes:
        path = PathLanes(self._loop, config, self, self._context, configured=configured)
        self.paths[path.name] = path
        self.choice.paths[path.name] = PathWatch(config.cost, metered=config.metered)
        return path

    def _room_for_path(self) -> bool:
        """For one more that the peer names; those that it named before and does not use any more make room."""
        if len(self.paths) >= MOST_PATHS:
            for path in list(self.paths.values()):
                if not path.configured and not path.lanes and path.name != self.choice.used:
                    self._remove_path(path, "the peer does not use it any more")
        return len(self.paths) < MOST_PATHS

    def _remove_path(self, path: PathLanes, reason: str) -> None:
        path.close()
        self._drop(list(path.all()), reason)
        del self.paths[path.name], self.choice.paths[path.name]

    # What the lanes tell.

    def lane_secure(self, lane: Lane) -> None:
        assert lane.role is not None
        lane.send(frames.hello(self._greeting(lane)))
        self._expect_hello(lane)

    def lane_frame(self, lane: Lane, kind: int, body: bytes) -> None:
        if not lane.greeted:
            self._greet(lane, kind, body)
            return
        assert lane.role is not None
        if kind >= frames.FIRST_SESSION_KIND or kind == Kind.ACK:
            self._carriage.take(lane, lane.role, kind, body)
        elif kind == Kind.PING:
            token = frames.read_numbers(body, 1)[0]
            if lane.backlog < MOST_BACKLOG:
                lane.send(frames.pong(token))
        elif kind == Kind.PONG:
            self._ponged(lane, frames.read_numbers(body, 1)[0])
        elif kind in (Kind.SOUND, Kind.DEPTH):
            if lane.backlog < MOST_BACKLOG:
                self._sessions.sounded(lane, kind, body)
        elif kind == Kind.SITE:
            self._sessions.announced(frames.read_site(body))
        elif kind == Kind.FULL:
            self._sessions.filled(frames.read_numbers(body, 1)[0])
        elif kind == Kind.ATTACH:
            self._attach(lane, body)
        elif kind in (Kind.HEDGE, Kind.COPY):
            self._hedged(lane, kind, body)
        elif kind == Kind.BYE:
            self._standing.refused = True
            lane.close(f"the peer said: {body.decode(errors='replace')}")
        else:
            raise ProtocolError(f"{Kind(kind).name} in the middle of a lane")

    def lane_drained(self, lane: Lane) -> None:
        if self.lanes.get(Role.BULK) is lane:
            self._sessions.drained()

    def lane_faulty(self, lane: Lane, reason: str) -> None:
        """The peer broke the protocol on a lane. The association may go on once; not when it stays at that point."""
        self._sessions.tell("lane.protocol", "warning", f"lane closed: {reason}", {"remote": lane.remote})
        count, at = self._violations
        progress = self._sessions.progress()
        self._violations = (count + 1 if at == progress else 1, progress)
        lane.close(f"protocol: {reason}")
        if self._violations[0] >= VIOLATIONS:
            self.restart("the peer sends the same nonsense again and again")

    def lane_lost(self, lane: Lane, reason: str) -> None:
        self._forget(lane, reason)
        if self._closed:
            return
        if lane.greeted:
            self._standing.refused = self._standing.refused or lane.error in ANSWERS
        elif lane.error == 0:
            self._standing.refused = False
        self._explain(lane, reason)

    def _explain(self, lane: Lane, reason: str) -> None:
        if self.state is not State.UP:
            self.reason = reason
        path = self.paths.get(lane.path)
        if path is not None and path.refused and path.proved:
            # The host answers everywhere and nobody listens: the process that held our streams is gone.
            self._standing.refused = True
            self.expire(f"the peer's data plane is gone: {reason}")
        if self.state is State.CONNECTING and not self._unreachable:
            self._unreachable = True
            evidence: dict[str, object] = {"remote": lane.remote, "path": lane.path}
            self._sessions.tell("peer.unreachable", "warning", f"no lane yet: {reason}; trying on", evidence)
        self._judge_soon()

    def _forget(self, lane: Lane, reason: str) -> None:
        timer = self._greeting_timers.pop(lane, None)
        if timer is not None:
            timer.cancel()
        path = self.paths.get(lane.path)
        if path is not None and path.lost(lane, reason):
            self.choice.lanes(path.name, self._loop.now, ready=path.ready)
            self._judge_soon()
        if lane.role is not None:
            self._carriage.forget(lane, lane.role)
        if self.hedging.uses(lane):
            self.hedging.end()
        self.lost_bytes[0] += lane.bytes_in
        self.lost_bytes[1] += lane.bytes_out
        self._last_heard = max(self._last_heard, lane.heard if lane.greeted else -math.inf)

    # Greeting.

    def _greeting(self, lane: Lane) -> Hello:
        hello = self._sessions.greeting()
        hello.version, hello.oldest = VERSION, OLDEST_VERSION
        hello.box, hello.incarnation = self.link.box, self.link.incarnation
        hello.association, hello.begun = self.link.association, self.link.begun
        hello.role, hello.path, hello.features = int(lane.role or 0), lane.path, FEATURES
        hello.small = lane.path in self.paths and self.paths[lane.path].small
        return hello

    def _expect_hello(self, lane: Lane) -> None:
        if len(self._greeting_timers) >= STRANGE_LANES:
            next(iter(self._greeting_timers)).close("too many lanes without a HELLO")
        self._greeting_timers[lane] = self._loop.call_later(GREETING_S, lambda: self._too_late(lane))

    def _too_late(self, lane: Lane) -> None:
        self._suspect(lane)
        lane.close(f"no HELLO within {GREETING_S:.0f} s")

    def _suspect(self, lane: Lane) -> None:
        """Nothing comes over a lane: perhaps because its large packets get lost on the way."""
        path = self.paths.get(lane.path)
        if path is not None and lane.large_ones_lost and path.doubt(lane):
            self._tell_small(path)
            if not lane.dialler:
                self._abandon(lane, "its large packets are lost")  # the next one's HELLO tells the peer

    def _tell_small(self, path: PathLanes) -> None:
        text = (
            f"large packets seem to get lost on path {path.name}; its lanes, and what passes through, use small ones "
            "from now on. Let ICMP through on the way (fragmentation needed, packet too big), or set the "
            "interface's MTU"
        )
        self._sessions.tell(SMALL_PACKETS, "warning", text, {"path": path.name})

    def _greet(self, lane: Lane, kind: int, body: bytes) -> None:
        if kind == Kind.BYE:
            reason = body.decode(errors="replace")
            text = f"the peer refused a lane: {reason}"
            self._sessions.tell("lane.refused", "warning", text, {"remote": lane.remote})
            lane.close(f"the peer said: {reason}")
            return
        if kind != Kind.HELLO:
            raise ProtocolError(f"the first frame is of kind {kind}, not HELLO")
        hello = frames.read_hello(body)
        if lane.dialler and hello.role != lane.role:
            raise ProtocolError(f"HELLO for session {hello.role} on a lane that was dialled for {lane.role}")
        verdict = self.link.on_hello(hello)
        if verdict.outcome is Outcome.STRANGE:
            self._part(lane, verdict.reason)
            return
        refusal = verdict.reason if verdict.outcome is Outcome.REFUSE else ""
        if not lane.dialler and hello.path not in self.paths and not self._room_for_path():
            refusal = refusal or f"path: there are {MOST_PATHS} others already"
        if refusal:
            text = f"lane refused: {refusal}"
            self._sessions.tell("lane.refused", "warning", text, {"remote": lane.remote})
            lane.send(frames.bye(refusal))
            lane.close(f"refused: {refusal}")
            return
        if verdict.restarted:
            text = f"it has restarted: {verdict.reason}"
            self._sessions.tell("peer.restarted", "warning", text, {"incarnation": hello.incarnation})
        if verdict.outcome is Outcome.RESTART:
            self.restart(verdict.reason)
            return
        self.hello = hello
        if verdict.outcome is Outcome.FRESH:
            if not self.link.dialler:
                self._drop(
                    [old for old in self._all_lanes() if old is not lane], "a new association has begun"
                )
            self._carriage.begin_anew()
            try:
                self._sessions.begin(hello)
            except ProtocolError:
                self.restart("the association could not begin")
                raise
        self._sessions.announced(Site(hello.prefixes, hello.elsewhere, hello.next_key, hello.accepts))
        self._greeted(lane, hello)

    def _part(self, lane: Lane, reason: str) -> None:
        """No version is common to both boxes: flows pass, and lanes are tried ever more rarely."""
        self._standing.strange = reason
        self._judge(self._loop.clock())
        if lane.path in self.paths:
            self.paths[lane.path].strange = True
        if not lane.dialler:
            lane.send(frames.hello(self._greeting(lane)))  # so that the other box knows, too
        lane.send(frames.bye(reason))
        lane.close(reason)

    def _greeted(self, lane: Lane, hello: Hello) -> None:
        role = Role(hello.role)
        timer = self._greeting_timers.pop(lane, None)
        if timer is not None:
            timer.cancel()
        if not lane.dialler:
            lane.role, lane.path = role, hello.path
            if hello.path not in self.paths:
                self._add_path(PathConfig(name=Name(hello.path)), configured=False)
        path = self.paths[lane.path]
        if hello.small and not path.small:
            path.use_small()
            self._tell_small(path)
        if not lane.dialler:
            lane.send(frames.hello(self._greeting(lane)))
        lane.greeted = True
        lane.accept_frames(MAX_FRAME)
        self._sessions.greeted(lane)
        older = path.greeted(lane, role)
        if older is not None and older is not self.lanes.get(role):
            self._abandon(older, "replaced by a newer lane")
        watch = self.choice.paths[path.name]
        if not watch.rtt:
            watch.sample(path.rtt)
        self.choice.lanes(path.name, self._loop.now, ready=path.ready)
        if self.link.dialler and self.choice.used == path.name:
            self._ask(lane, role)
        self._judge_soon()

    # Attaching.

    def _ask(self, lane: Lane, role: Role) -> None:
        if role is Role.EXPRESS:
            self.hedging.end()
        for other in self._carriage.ask(lane, role):
            self._abandon(other, "its session has moved to another lane")
        self._judge_soon()

    def _attach(self, lane: Lane, body: bytes) -> None:
        assert lane.role is not None
        turn, received, follows = frames.read_numbers(body, 3)
        try:
            if self.link.dialler:
                self._carriage.answered(lane, lane.role, turn, received)
            else:
                for other in self._carriage.called(lane, lane.role, turn, received, follows):
                    self._abandon(other, "its session has moved to another lane")
                if lane.role is Role.EXPRESS:
                    self.hedging.end()
                if self.lanes.get(lane.role) is lane:
                    self.choice.using(lane.path)
                    self._moved(lane.path, "the peer has chosen it")
        except SessionError as error:
            self.restart(f"the sessions do not fit: {error}")
            return
        self._judge_soon()

    def _hedged(self, lane: Lane, kind: int, body: bytes) -> None:
        if lane.role is not Role.EXPRESS:
            raise ProtocolError(f"{Kind(kind).name} on a lane of the bulk session")
        if kind == Kind.COPY:
            self._carriage.copied(lane.role, *frames.read_copy(body))
            return
        if self.link.dialler or self.lanes.get(lane.role) is lane:
            raise ProtocolError("HEDGE from the box that is dialled, or on the lane that carries the session")
        number = frames.read_numbers(body, 1)[0]
        self.hedging.asked(lane, number - 1 if number else None)

    def _hedge(self) -> None:
        """Follows the choice of a second path for what is small."""
        path = self.paths.get(self.choice.hedge)
        able = self.hello is not None and hedging.FEATURE in self.hello.features
        self.hedging.over(path.lanes.get(Role.EXPRESS) if path is not None and able else None)

    def _abandon(self, lane: Lane, reason: str) -> None:
        lane.abandon(reason)
        self._forget(lane, reason)

    def _moved(self, path: str, why: str) -> None:
        if path == self._over:
            return
        self.switches += bool(self._over)
        self._over = path
        self._sessions.tell("path.used", "info", f"its flows go over path {path}: {why}", {"path": path})

    # The end of an association.

    def restart(self, reason: str) -> None:
        """The association is over: its streams end in RST, and the next lanes begin another."""
        self.link.begin_anew()
        self._standing.begin_anew()
        self._sessions.end(reason)
        self._carriage.begin_anew()
        self._drop_all(reason)
        self.reason = reason
        self._judge(self._loop.clock())
        for path in self.paths.values():
            path.proved = False
            path.start(FIRST_RETRY_S)

    def expire(self, reason: str) -> None:
        """The peer has been away for too long: what was held for it is given up."""
        if self.link.established and self.state is not State.UP:
            self.restart(reason)

    def _all_lanes(self) -> list[Lane]:
        greeted = {lane for path in self.paths.values() for lane in path.all()}
        return [*{*self.lanes.values(), *self._greeting_timers, *greeted}]

    def _drop_all(self, reason: str) -> None:
        self._drop(self._all_lanes(), reason)

    def _drop(self, lanes: list[Lane], reason: str) -> None:
        for lane in lanes:
            lane.close(reason, tell=False)
            self._forget(lane, reason)
        self._judge_soon()

    # Heartbeats.

    def _judge_soon(self) -> None:
        if not self._judging and not self._closed:
            self._judging = True
            self._loop.at_end(self._beat)

    def _beat(self) -> None:
        self._judging = False
        if self._closed:
            return
        now = self._loop.clock()
        if now - self._due > self.heartbeat:
            self._standing.forgive(now)
        for name, path in list(self.paths.items()):
            for lane in path.lanes.values():
                # The kernel is asked only where its word may matter: a hub does this for every lane of every peer.
                asked = self.choice.paths[name].asking and now - lane.heard > self.heartbeat / 2
                self.choice.hear(name, max(lane.heard, lane.kernel_view().heard) if asked else lane.heard)
        for action in self.choice.tick(now):
            self._perform(action)
        if self.link.dialler:
            self._hedge()
        self._tend_lanes(now)
        self._judge(now)
        self._due = min(self.choice.due, now + self.heartbeat)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, self._due - now), self._beat)

    def _perform(self, action: Probe | Use | Redial | Changed) -> None:
        path = self.paths[action.path]
        if isinstance(action, Probe):
            for role, lane in path.lanes.items():
                if role is Role.EXPRESS or self._loop.now - lane.pinged >= BULK_PING_S:
                    self._ping(lane)
        elif isinstance(action, Use):
            self._moved(action.path, action.why)
            for role, lane in list(path.lanes.items()):
                self._ask(lane, role)
        elif isinstance(action, Redial):
            path.redial()
        else:
            if action.health is Health.HELD:
                path.recovered()
            if action.health is Health.DOWN:
                path.reason = action.why
            severity: Severity = "warning" if action.health is Health.DOWN else "info"
            text = f"path {action.path} is {action.health}: {action.why}"
            evidence: dict[str, object] = {"path": action.path, "rtt_s": self.choice.paths[action.path].rtt}
            self._sessions.tell(f"path.{action.health}", severity, text, evidence)

    def _ping(self, lane: Lane) -> None:
        lane.pinged = self._loop.now
        lane.unanswered = min(lane.unanswered, lane.pinged)
        if not lane.blocked:  # else what waits there is probe enough
            lane.send(frames.ping(int(self._loop.clock() * 1e6) & _TOKEN))

    def _ponged(self, lane: Lane, token: int) -> None:
        if lane.role is Role.EXPRESS:
            sample = ((int(self._loop.clock() * 1e6) - token) & _TOKEN) / 1e6
            self.choice.paths[lane.path].sample(sample)

    def _tend_lanes(self, now: float) -> None:
        """Asks lanes that carry something, and gives up those that are dead though the peer is heard."""
        for path in list(self.paths.values()):
            for role, lane in list(path.lanes.items()):
                carries = self.lanes.get(role) is lane
                if lane.heard >= lane.unanswered:
                    lane.unanswered = math.inf
                if lane.blocked or now - lane.large_at < STUCK_S:
                    self._suspect(lane)
                if carries and now - max(lane.pinged, lane.heard) >= BULK_PING_S:
                    self._ping(lane)
                forgotten = not self.link.dialler and not carries and now - lane.heard > FORGOTTEN_S
                if forgotten or tending.is_dead(lane, now, self.heartbeat, self._last_heard):
                    silent = now - lane.heard
                    lane.abandon(f"nothing came over the {role.name.lower()} lane for {silent:.1f} s")
                    self._forget(lane, "it was silent")

    def _judge(self, now: float) -> None:
        lanes = [lane for path in self.paths.values() for lane in path.lanes.values()]
        self._last_heard = max((lane.heard for lane in lanes), default=self._last_heard)
        state = self._standing.judge(
            now,
            self.heartbeat,
            heard=self._last_heard,
            attached=len(self.lanes) == len(Role),
            lanes=bool(lanes),
            alive=any(watch.usable for watch in self.choice.paths.values()),
        )
        if state is self.state:
            return
        self.state, self.since = state, now
        if state is State.UP:
            self.reason, self._unreachable = "", False
        elif state is State.SILENT:
            quiet = now - self._last_heard
            self.reason = f"its host answers, its data plane has not for {quiet:.1f} s"
            if quiet < SILENT * self.heartbeat:
                self.reason = "its data plane answers, and has not taken the sessions up"
        elif state is State.OTHER_VERSION:
            self.reason = self._standing.strange
        elif state is State.PATH_DOWN:
            self.reason = self._why("no path carries anything")
        elif state is State.DOWN:
            self.reason = self._why("its host answers, and nobody there takes our lanes")
        self._sessions.changed(state, self.reason)

    def _why(self, what: str) -> str:
        used = self.paths.get(self.choice.used)
        return f"{what}: {used.reason}" if used else what
