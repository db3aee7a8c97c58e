"""Which path carries a peer's sessions: the decision, from probe results, lanes and the clock. Sans I/O.

The box that dials decides; the box that is dialled watches, and probes only a path in use that fell quiet. The
path in use is probed every interval, the others rarely until the one in use is suspect: then their answers are
there when it is given up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from appliance.lanes.watch import Health, PathWatch

STANDBY_S = 1.0  # between probes of a path that stands by,
METERED_S = 60.0  # of one whose bytes cost money,
METERED_USE = 5  # and intervals between probes of such a one while it is in use,
HASTE = 0.5  # and between those of the path in use when one of them was not answered
QUIET = 2  # intervals without a word after which the dialled box asks
METERED_MISSES = 2  # of the path in use, before one whose bytes cost money is used beside it
SOONEST_S = 0.005


@dataclass(frozen=True)
class Probe:
    """Send a PING over the path."""

    path: str


@dataclass(frozen=True)
class Use:
    """Move the sessions to the path's lanes."""

    path: str
    why: str


@dataclass(frozen=True)
class Redial:
    """The path's lanes may never answer again, even when the path does: open new ones."""

    path: str


@dataclass(frozen=True)
class Changed:
    """For people."""

    path: str
    health: Health
    why: str


Action: TypeAlias = Probe | Use | Redial | Changed


class Choice:
    def __init__(self, interval: float, *, decides: bool) -> None:
        """`interval` in seconds between probes of the path in use."""
        self.interval = interval
        self.decides = decides
        self.paths: dict[str, PathWatch] = {}
        self.used = ""
        self.hedge = ""  # the path that takes what is small as well, while the one in use is suspect
        self._suspect = math.inf  # since when the path in use misses answers
        self._due = math.inf

    def lanes(self, path: str, now: float, *, ready: bool) -> None:
        """Both lanes of the path are greeted, or one is missing."""
        self.paths[path].lanes(now, ready=ready)

    def hear(self, path: str, at: float) -> None:
        """Something of the peer's host arrived over the path."""
        self.paths[path].hear(at)

    def using(self, path: str) -> None:
        """The peer has decided."""
        self.used = path

    def tick(self, now: float) -> list[Action]:
        """What is to be done now; call it again at `due`, and after `lanes` and `using`."""
        if now - self._due > self.interval:
            for watch in self.paths.values():
                watch.forgive()
        actions: list[Action] = []
        for name, watch in self.paths.items():
            why = watch.judge(now, self.interval)
            if why is not None:
                actions.append(Changed(name, watch.health, why))
                if self.decides and watch.health is Health.DOWN:
                    actions.append(Redial(name))
        self._suspicion(now)
        if self.decides:
            actions += self._choose()
            self.hedge = self._beside(now)
        for name, watch in self.paths.items():
            if watch.ready and watch.probed + self._pause(name, watch, now) <= now:
                watch.probe(now)
                actions.append(Probe(name))
        self._due = self._next(now)
        return actions

    @property
    def due(self) -> float:
        """When `tick` wants to be called at the latest."""
        return self._due

    def _suspicion(self, now: float) -> None:
        used = self.paths.get(self.used)
        if used is None or (used.usable and not used.misses(now)):
            self._suspect = math.inf
        else:
            self._suspect = min(self._suspect, now)

    def _choose(self) -> list[Action]:
        used = self.paths.get(self.used)
        if used is not None and used.usable_health:
            # A lane that is missing is being dialled again; until the path is given up only a better one is taken.
            cheaper = [
                (watch.cost, name)
                for name, watch in self.paths.items()
                if watch.ready and watch.health is Health.UP and watch.cost < used.cost
            ]
            return [self._take(min(cheaper)[1], "it is the preferred one")] if cheaper else []
        ranked = [
            (watch.health is Health.HELD, watch.cost, name)
            for name, watch in self.paths.items()
            if watch.usable and (used is None or watch.heard >= self._suspect)
        ]
        if not ranked:
            return []
        return [self._take(min(ranked)[2], f"path {self.used} is down" if used else "it is the first one up")]

    def _beside(self, now: float) -> str:
        used = self.paths.get(self.used)
        if used is None or self._suspect == math.inf:
            return ""
        needed = used.misses(now) >= METERED_MISSES
        ranked = [
            (watch.health is Health.HELD, watch.cost, name)
            for name, watch in self.paths.items()
            if watch is not used and watch.usable and (needed or not watch.metered)
        ]
        return min(ranked)[2] if ranked else ""

    def _take(self, path: str, why: str) -> Use:
        self.used = path
        self._suspect = math.inf
        return Use(path, why)

    def _pause(self, name: str, watch: PathWatch, now: float) -> float:
        """Seconds between probes of a path."""
        if watch.health is Health.DOWN:
            return STANDBY_S if self.decides or name == self.used else math.inf
        if not self.decides:
            quiet = name == self.used and now - watch.heard >= QUIET * self.interval
            return self.interval if quiet or self._suspect < math.inf else math.inf
        if name == self.used:
            calm = METERED_USE if watch.metered else 1
            return self.interval * (HASTE if watch.misses(now) else calm)
        if self._suspect < math.inf or watch.misses(now):
            return self.interval
        return METERED_S if watch.metered else STANDBY_S

    def _next(self, now: float) -> float:
        due = math.inf
        for name, watch in self.paths.items():
            due = min(due, watch.next_change(self.interval))
            if watch.ready:
                due = min(due, watch.next_miss(now), watch.probed + self._pause(name, watch, now))
                if not self.decides and name == self.used and watch.health is not Health.DOWN:
                    due = min(due, max(watch.heard + QUIET * self.interval, watch.probed + self.interval))
        return max(due, now + SOONEST_S)
