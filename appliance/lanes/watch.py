"""The health of one path: probes that were sent, what was heard since, and what follows from it. Sans I/O.

A probe is missed when its answer was due and nothing at all has been heard at or after that time: a path that
carries anything is alive, however late the answers are. Only what was sent can be missed, so a box that was too
busy to probe accuses nobody.
"""

from __future__ import annotations

import enum
import math
from collections import deque

MISSES = 3  # probes in a row that make a path down
LEAST_SLACK_S = 0.02  # how much later than usual an answer may be, at least
MOST_SLACK_S = 0.05  # and at most
REDIAL_RTTS = 4  # round trips that a lost lane takes to come back
HOLD_S = 5.0  # a path that was down is not preferred before it has answered for so long,
LONGEST_HOLD_S = 60.0  # and twice as long each time that it fell again
STEADY_S = 60.0  # a path that was up for so long is forgiven its past


class Health(enum.StrEnum):
    CONNECTING = "connecting"  # it has never been up
    UP = "up"
    HELD = "held"  # it answers again; used when nothing better is there
    DOWN = "down"


class PathWatch:
    """Times are seconds on any one clock."""

    def __init__(self, cost: int = 0, *, metered: bool = False) -> None:
        self.cost = cost
        self.metered = metered
        self.health = Health.CONNECTING
        self.ready = False  # both lanes are greeted
        self.rtt = 0.0  # smoothed; 0: not known
        self.heard = -math.inf
        self.probed = 0.0
        self.since = 0.0  # of `health`
        self._jitter = 0.0
        self._probes: deque[float] = deque()  # sent, and nothing heard when they were due
        self._incomplete = -math.inf  # since when a lane is missing
        self._hold = HOLD_S

    @property
    def usable(self) -> bool:
        return self.ready and self.health in (Health.UP, Health.HELD)

    @property
    def asking(self) -> bool:
        """A probe is under way."""
        return bool(self._probes)

    @property
    def slack(self) -> float:
        return min(max(4 * self._jitter, LEAST_SLACK_S), MOST_SLACK_S)

    def lanes(self, now: float, *, ready: bool) -> None:
        """Both lanes are there now, or one is missing."""
        if ready:
            self.heard = max(self.heard, now)
            self._probes.clear()
        elif self.ready:
            self._incomplete = now
        self.ready = ready

    def hear(self, at: float) -> None:
        """Something of the peer's host arrived over the path."""
        self.heard = max(self.heard, at)
        answered = at - self.rtt + self.slack
        while self._probes and self._probes[0] <= answered:
            self._probes.popleft()

    def sample(self, seconds: float) -> None:
        """The round trip of one probe (RFC 6298's estimator)."""
        if not self.rtt:
            self.rtt, self._jitter = seconds, seconds / 2
        else:
            self._jitter += (abs(seconds - self.rtt) - self._jitter) / 4
            self.rtt += (seconds - self.rtt) / 8

    def probe(self, now: float) -> None:
        """A probe is being sent."""
        self.probed = now
        self._probes.append(now)
        if len(self._probes) > MISSES and self._probes[MISSES] + self.rtt + self.slack <= now:
            self._probes.popleft()  # enough are missed without it

    def forgive(self) -> None:
        """Probes under way do not count: the box itself was late."""
        self._probes.clear()

    def misses(self, now: float) -> int:
        """Probes whose answer is overdue."""
        overdue = now - self.rtt - self.slack
        return sum(sent <= overdue for sent in self._probes)

    def next_miss(self, now: float) -> float:
        """When the next probe will be overdue, if nothing is heard."""
        patience = self.rtt + self.slack
        return next((sent + patience for sent in self._probes if sent + patience > now), math.inf)

    def judge(self, now: float, interval: float) -> str | None:
        """Takes over what follows from probes and lanes; why, if `health` has changed."""
        before, why = self.health, ""
        if not self.ready:
            late = now - self._incomplete
            patience = MISSES * interval + REDIAL_RTTS * self.rtt
            if self.usable_health and late >= patience:
                why = self._fall(now, f"a lane was lost and did not come back within {late:.1f} s")
        elif self.usable_health:
            missed = self.misses(now)
            if missed >= MISSES:
                why = self._fall(now, f"{missed} probes were not answered")
            elif self.health is Health.HELD and now - self.since >= self._hold:
                self._become(Health.UP, now)
                why = f"it has answered for {self._hold:.0f} s"
        elif self.health is Health.CONNECTING:
            self._become(Health.UP, now)
            why = "its lanes are open"
        elif self.heard > self.since:
            self._probes.clear()
            self._become(Health.HELD, now)
            why = "it answers again"
        return why if self.health is not before else None

    @property
    def usable_health(self) -> bool:
        return self.health in (Health.UP, Health.HELD)

    def next_change(self, interval: float) -> float:
        """When `judge` may find something else, even if nothing happens but misses."""
        if not self.ready and self.usable_health:
            return self._incomplete + MISSES * interval + REDIAL_RTTS * self.rtt
        if self.ready and self.health is Health.HELD:
            return self.since + self._hold
        return math.inf

    def _fall(self, now: float, why: str) -> str:
        steady = self.health is Health.UP and now - self.since >= STEADY_S
        if self.health is Health.UP:
            self._hold = HOLD_S if steady else min(2 * self._hold, LONGEST_HOLD_S)
        self._become(Health.DOWN, now)
        return why

    def _become(self, health: Health, now: float) -> None:
        self.health, self.since = health, now
