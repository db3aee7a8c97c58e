"""The data plane's part: lanes that an invitation has let in. They may ask one thing, and control decides."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from appliance.enrolment.messages import Answer, Request, enrol, read
from appliance.lanes import frames
from appliance.lanes.frames import Kind, ProtocolError
from appliance.lanes.lane import Lane
from appliance.loop import Loop, Timer

MOST_WAITING = 8
ANSWER_S = 15.0

Ask = Callable[[int, Lane, Request], None]


class Desk:
    """`ask(ticket, lane, request)` passes a request on; `answer` or `refuse` come back with its ticket."""

    def __init__(self, loop: Loop, ask: Ask) -> None:
        self._loop = loop
        self._ask = ask
        self._tickets = count(1)
        self._waiting: dict[int, Lane] = {}
        self._timers: dict[Lane, Timer] = {}

    def take(self, lane: Lane) -> None:
        """A lane whose one-time key has been proved. It is greeted: what a box says before would hide an alert.

        Whoever holds a token has one place, and so cannot keep all of them.
        """
        for older in [older for older in self._timers if older.certificate == lane.certificate]:
            _part(older, "another lane with the same token has come")
        lane.owner = self
        lane.send(frames.ping(0))
        late = f"no decision within {ANSWER_S:.0f} s: is the centre's control plane running? Try again later"
        self._timers[lane] = self._loop.call_later(ANSWER_S, lambda: _part(lane, late))
        if len(self._timers) > MOST_WAITING:
            _part(lane, "too many boxes enrol at once; try again in a moment")

    def answer(self, ticket: int, answer: Answer) -> None:
        """It is enrolled. LookupError when the lane has gone meanwhile."""
        lane = self._waiting.pop(ticket)
        lane.send(enrol(answer))
        lane.close("enrolled")

    def refuse(self, ticket: int, reason: str) -> None:
        """It is not. LookupError when the lane has gone meanwhile."""
        _part(self._waiting.pop(ticket), reason)

    def close(self) -> None:
        for lane in list(self._timers):
            _part(lane, "the data plane stops; try again later")

    # What the lanes tell.

    def lane_frame(self, lane: Lane, kind: int, body: bytes) -> None:
        if kind != Kind.ENROL or lane in self._waiting.values():
            raise ProtocolError("a lane of an invitation carries one ENROL")
        request = read(body, Request)
        ticket = next(self._tickets)
        self._waiting[ticket] = lane
        self._ask(ticket, lane, request)

    def lane_faulty(self, lane: Lane, reason: str) -> None:
        _part(lane, f"protocol: {reason}")

    def lane_lost(self, lane: Lane, _reason: str) -> None:
        self._timers.pop(lane).cancel()
        for ticket in [ticket for ticket, waiting in self._waiting.items() if waiting is lane]:
            del self._waiting[ticket]

    def lane_secure(self, _lane: Lane) -> None:
        raise AssertionError("a lane is handed over after its handshake")

    def lane_drained(self, _lane: Lane) -> None:
        """Two frames at most are ever sent."""


def _part(lane: Lane, reason: str) -> None:
    lane.send(frames.bye(reason))
    lane.close(reason)
