"""How long the queue is that a lane's frames wait in on the way: sounded by clocks that need not agree.

A SOUND carries its sender's clock. What it took by the receiver's clock is the way, the queue and the difference of the
clocks; the least of late is the way without a queue. So each direction is measured by itself, where a round trip
would blame both boxes for a queue before one.
"""

from __future__ import annotations

import math
from collections import deque

from appliance.lanes import frames
from appliance.lanes.frames import Kind
from appliance.lanes.lane import Lane
from appliance.loop import Loop

FEATURE = "sound"
FORGET_S = 60.0  # the least of the last one to two minutes counts: clocks drift, routes change
MOST_DEPTHS = 64  # that wait for somebody to ask
_MODULUS = 1 << 46  # µs
_TOO_DEEP = 1 << 32


class Tide:
    """Queueing delays out of stamps. All in µs; times in seconds."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._began = 0.0
        self._least = math.inf  # of this window,
        self._earlier = math.inf  # and of the one before

    def depth(self, stamp: int, earliest: float, now: float) -> int:
        """What the frame with this stamp has waited beyond the quickest of late, by the earliest it can have come.

        It is read `now`; between the two it may have waited for this process, and that is no queue on the way.
        """
        if self._first is None:
            self._first, self._began = (stamp_at(now) - stamp) % _MODULUS, now
        if now - self._began > FORGET_S:
            self._began, self._earlier, self._least = now, self._least, math.inf
        self._least = min(self._least, self._took(stamp, now))
        depth = self._took(stamp, earliest) - int(min(self._least, self._earlier))
        return min(max(depth, 0), _TOO_DEEP)

    def _took(self, stamp: int, at: float) -> int:
        assert self._first is not None
        return (stamp_at(at) - stamp - self._first + _MODULUS // 2) % _MODULUS


def stamp_at(now: float) -> int:
    return int(now * 1e6) % _MODULUS


class Sounding:
    """One peer's, over whichever lane is its express lane."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._from_peer: tuple[Lane | None, Tide] = (None, Tide())
        self._asked: Lane | None = None
        self._asking = False
        self._depths: deque[float] = deque(maxlen=MOST_DEPTHS)

    def ask(self, lane: Lane) -> None:
        """Asks the peer how deep the queue towards it is; the stamp is made when the frame leaves."""
        if lane is not self._asked:
            self._asked = lane
            self._depths.clear()
        self._asking = True
        lane.nudge()

    def due(self, lane: Lane) -> list[bytes]:
        """The frame that is to leave now, if any."""
        if not self._asking or lane is not self._asked or lane.blocked:
            return []
        self._asking = False
        return [frames.sound(stamp_at(self._loop.clock()))]

    def answers(self) -> list[float]:
        """Depths in seconds that the peer has told since this was called last."""
        told = list(self._depths)
        self._depths.clear()
        return told

    def take(self, lane: Lane, kind: int, body: bytes) -> None:
        (number,) = frames.read_numbers(body, 1)
        if kind == Kind.DEPTH:
            if lane is self._asked:
                self._depths.append(number / 1e6)
            return
        if self._from_peer[0] is not lane:
            self._from_peer = (lane, Tide())
        depth = self._from_peer[1].depth(number, self._loop.since, self._loop.clock())
        lane.send(frames.depth(depth))
