"""A box of another release, as far as its recorded session goes: it says what it said then, and does not understand."""

from __future__ import annotations

from collections import deque

from appliance.lanes import frames
from appliance.lanes.frames import FIRST_SESSION_KIND, MAX_FRAME, Kind
from appliance.lanes.lane import Lane
from appliance.lanes.link import Role
from appliance.lanes.varint import read_varint
from tests.unit.recorded.recording import Recording


class Replay:
    """The owner of the lanes of the box called `name`."""

    def __init__(self, recording: Recording, name: str) -> None:
        self.trouble: list[str] = []
        self._dials = name == "branch"
        self._to_say = {
            role: deque(sent.frame for sent in recording.sent if (sent.sender, sent.role) == (name, role))
            for role in Role
        }
        self._lanes: dict[Role, Lane] = {}
        self._heard: dict[Role, set[int]] = {role: set() for role in Role}
        self._counted = dict.fromkeys(Role, 0)
        self._opened: set[int] = set()

    @property
    def done(self) -> bool:
        """Everything that was recorded has been said."""
        return not any(self._to_say.values())

    def take(self, lane: Lane) -> bool:
        """A lane that the other box has opened."""
        lane.owner = self
        return True

    def lane_secure(self, lane: Lane) -> None:
        assert lane.role is not None
        self._lanes[lane.role] = lane
        self._speak()

    def lane_frame(self, lane: Lane, kind: int, body: bytes) -> None:
        if kind == Kind.HELLO:
            lane.role = Role(frames.read_hello(body).role)
            self._lanes[lane.role] = lane
            lane.accept_frames(MAX_FRAME)
        elif kind == Kind.PING:
            lane.send(frames.pong(frames.read_numbers(body, 1)[0]))
        elif kind == Kind.BYE:
            self.trouble.append(body.decode())
        assert lane.role is not None
        self._heard[lane.role].add(kind)
        if kind == Kind.OPEN:
            self._opened.add(read_varint(body, 0)[0])
        if kind >= FIRST_SESSION_KIND:
            self._counted[lane.role] += 1
            lane.send(frames.ack(self._counted[lane.role]))
        self._speak()

    def lane_drained(self, lane: Lane) -> None:
        """What is recorded is little."""

    def lane_lost(self, lane: Lane, reason: str) -> None:
        self.trouble.append(reason)

    def lane_faulty(self, lane: Lane, reason: str) -> None:
        self.trouble.append(reason)
        lane.close(reason, tell=False)

    def _speak(self) -> None:
        for role, lane in self._lanes.items():
            while self._to_say[role] and self._may_say(role, self._to_say[role][0]):
                frame = self._to_say[role].popleft()
                lane.send(frames.frame(frame[0], frame[1:]))

    def _may_say(self, role: Role, frame: bytes) -> bool:
        """Whether it has heard what it had heard then: an answer must not come before what it answers."""
        kind = frame[0]
        if kind in (Kind.HELLO, Kind.ATTACH):
            awaited = (None if kind == Kind.HELLO else Kind.HELLO) if self._dials else kind
            return awaited is None or awaited in self._heard[role]
        stream = read_varint(frame[1:], 0)[0]
        own = stream % 2 == (0 if self._dials else 1)
        return own or stream in self._opened
