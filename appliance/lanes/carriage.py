"""Which lane carries which session, and how a session comes from one lane to another (ATTACH, docs/LANES.md)."""

from __future__ import annotations

from typing import Protocol

from appliance.events import Severity
from appliance.lanes import frames
from appliance.lanes.frames import Hello, Kind, ProtocolError, Site
from appliance.lanes.lane import Lane
from appliance.lanes.link import Role


class Sessions(Protocol):
    """The peer, as its lanes see it."""

    def greeting(self) -> Hello: ...

    def greeted(self, lane: Lane) -> None: ...

    def begin(self, hello: Hello) -> None: ...

    def announced(self, site: Site) -> None: ...

    def filled(self, reason: int) -> None: ...

    def arrived(self, role: Role) -> int: ...

    def resume(self, role: Role, received: int) -> list[bytes]: ...

    def little(self, role: Role) -> tuple[int, list[bytes]] | None: ...

    def unacknowledged(self, received: int) -> tuple[int, list[bytes]] | None: ...

    def end(self, reason: str) -> None: ...

    def take(self, role: Role, kind: int, body: bytes) -> None: ...

    def drained(self) -> None: ...

    def changed(self, state: str, reason: str) -> None: ...

    def tell(self, kind: str, severity: Severity, text: str, evidence: dict[str, object]) -> None: ...

    def progress(self) -> int: ...

    def sounded(self, lane: Lane, kind: int, body: bytes) -> None: ...


class Carriage:
    """Raises ProtocolError when the peer breaks the rules, and SessionError when its counts do not fit ours."""

    def __init__(self, sessions: Sessions) -> None:
        self.lanes: dict[Role, Lane] = {}  # that session frames go over
        self._sessions = sessions
        self._asked: dict[Role, tuple[Lane, int]] = {}  # the lane and turn of an ATTACH that is not answered
        self._turns = dict.fromkeys(Role, 0)
        self._skip = dict.fromkeys(Role, 0)  # session frames that come once more

    def begin_anew(self) -> None:
        """Another association: its turns count from the start."""
        self._turns = dict.fromkeys(Role, 0)
        self._skip = dict.fromkeys(Role, 0)

    def forget(self, lane: Lane, role: Role) -> None:
        """The lane has ended."""
        if self.lanes.get(role) is lane:
            del self.lanes[role]
        if self._asked.get(role, (None,))[0] is lane:
            del self._asked[role]

    def ask(self, lane: Lane, role: Role) -> list[Lane]:
        """Asks the peer to go on with a session over this lane; returns those that carry nothing any more.

        What was sent over the lane before is as if lost. A lane carries its session once: one that does is not asked.
        """
        if lane in (self.lanes.get(role), self._asked.get(role, (None,))[0]):
            return []
        old, asked = self.lanes.pop(role, None), self._asked.pop(role, None)
        left = {old, asked[0] if asked else None} - {lane, None}
        self._turns[role] += 1
        self._asked[role] = (lane, self._turns[role])
        self._skip[role] = 0
        little = self._sessions.little(role)
        first = little[0] if little is not None else None
        lane.send(frames.attach(self._turns[role], self._sessions.arrived(role), first))
        if little is not None:  # sending it twice is quicker than asking
            self._carry(lane, role, little[1])
        return [other for other in left if other is not None]

    def answered(self, lane: Lane, role: Role, turn: int, received: int) -> None:
        """The peer goes on over the lane, and has received so much."""
        if self._asked.get(role) != (lane, turn):
            raise ProtocolError(f"ATTACH of turn {turn}, which was not asked for")
        del self._asked[role]
        if self.lanes.get(role) is not lane:
            self._carry(lane, role, self._sessions.resume(role, received))

    def called(self, lane: Lane, role: Role, turn: int, received: int, follows: int) -> list[Lane]:
        """The peer asks to go on over this lane; returns those that carry nothing any more."""
        if turn <= self._turns[role]:
            return [lane]  # a later one has taken its place
        if self.lanes.get(role) is lane:
            raise ProtocolError("ATTACH on a lane that carries its session already")
        arrived = self._sessions.arrived(role)
        skip = arrived - (follows - 1) if follows else 0
        if skip < 0:
            raise ProtocolError(f"ATTACH leaves out frames {arrived} to {follows - 1}")
        old = self.lanes.pop(role, None)
        self._turns[role], self._skip[role] = turn, skip
        lane.send(frames.attach(turn, arrived))
        self._carry(lane, role, self._sessions.resume(role, received))
        return [old] if old is not None and old is not lane else []

    def take(self, lane: Lane, role: Role, kind: int, body: bytes) -> None:
        """A session frame, or an ACK."""
        if self.lanes.get(role) is not lane:
            raise ProtocolError(f"{Kind(kind).name} on a lane that carries no session")
        if self._skip[role] and kind != Kind.ACK:
            self._skip[role] -= 1  # it arrived over the lane before
            return
        self._sessions.take(role, kind, body)

    def copied(self, role: Role, number: int, kind: int, body: bytes) -> None:
        """A copy of a session frame: taken if it is the next one, and then the frame itself comes once more."""
        if number == self._sessions.arrived(role):
            self._sessions.take(role, kind, body)
            self._skip[role] += 1  # not of one that is refused: that comes again

    def _carry(self, lane: Lane, role: Role, again: list[bytes]) -> None:
        self.lanes[role] = lane
        for frame in again:
            lane.send(frame)
        if role is Role.BULK:
            self._sessions.drained()
