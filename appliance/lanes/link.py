"""What a HELLO means: a fresh association, one that goes on, a peer that restarted, or a refusal. Sans I/O.

Two boxes that know each other's incarnation share an association: a pair of sessions (express and bulk) and
what they carry. The dialling box names it. Lanes come and go; the association ends when a box restarts, when
the peer has been away too long, or when the two disagree about what was sent.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from appliance.config.values import Name
from appliance.lanes.frames import OLDEST_VERSION, VERSION, Hello


class Role(enum.IntEnum):
    """Which session a lane carries."""

    EXPRESS = 0
    BULK = 1


class Outcome(enum.Enum):
    FRESH = "fresh"  # a new association: drop every stream, then attach
    JOIN = "join"  # the association goes on, with one more lane
    RESTART = "restart"  # nothing here fits: drop every stream, close all lanes, dial again
    REFUSE = "refuse"  # say BYE with the reason
    STRANGE = "strange"  # the same, to a box with which no version is common


@dataclass(frozen=True)
class Verdict:
    outcome: Outcome
    reason: str = ""
    restarted: bool = False  # it is another process than before


class Link:
    """One peer's association, seen from this box."""

    def __init__(self, box: str, incarnation: int, peer: str, dialler: bool) -> None:
        self.box = box
        self.peer = peer
        self.incarnation = incarnation
        self.dialler = dialler
        self.association: list[int] = [incarnation, 1] if dialler else []
        self.peer_incarnation: int | None = None
        self.peer_version = 0
        self.begun = 0  # counted by the box that is dialled, taken over by the one that dials

    @property
    def established(self) -> bool:
        return self.peer_incarnation is not None

    def on_hello(self, hello: Hello) -> Verdict:
        """Judges the peer's HELLO on a new lane and takes over what follows from it."""
        strange = self._strange(hello)
        if strange:
            self.peer_version = hello.version
            return Verdict(Outcome.STRANGE, strange)
        refusal = self._refusal(hello)
        if refusal:
            return Verdict(Outcome.REFUSE, refusal)
        return self._answered(hello) if self.dialler else self._called(hello)

    def begin_anew(self) -> None:
        """Forgets the association; a dialler names the next one."""
        self.peer_incarnation = None
        if self.dialler:
            self.association = [self.incarnation, self.association[1] + 1]
        else:
            self.association = []

    def _strange(self, hello: Hello) -> str:
        if hello.version >= OLDEST_VERSION and hello.oldest <= VERSION:
            return ""
        older = "the box of the peer" if hello.version < OLDEST_VERSION else "this box"
        return (
            f"version: the peer speaks versions {hello.oldest} to {hello.version} of the protocol, "
            f"this box {OLDEST_VERSION} to {VERSION}; update {older}"
        )

    def _refusal(self, hello: Hello) -> str:
        if hello.box != self.peer:
            return f"name: the box with this key calls itself {hello.box!r}, configured is {self.peer!r}"
        if hello.role not in tuple(Role):
            return f"role: session {hello.role} is not known here"
        try:
            Name.parse(hello.path)
        except ValueError as error:
            return f"path: {error}"
        if len(hello.association) != 2:
            return "association: not a pair of numbers"
        return ""

    def _answered(self, hello: Hello) -> Verdict:
        if hello.association != self.association:
            return Verdict(Outcome.RESTART, "the peer answered for another association")
        if not self.established:
            self._take(hello)
            return Verdict(Outcome.FRESH)
        if hello.incarnation != self.peer_incarnation:
            return Verdict(Outcome.RESTART, "the peer has restarted", restarted=True)
        if hello.begun != self.begun:
            return Verdict(Outcome.RESTART, "the peer has forgotten the association")
        return Verdict(Outcome.JOIN)

    def _called(self, hello: Hello) -> Verdict:
        known = self.association
        if hello.association == known and hello.incarnation == self.peer_incarnation:
            return Verdict(Outcome.JOIN)
        if known and hello.association[0] == known[0] and hello.association[1] < known[1]:
            return Verdict(Outcome.REFUSE, "stale: a later association has begun")
        restarted = self.established and hello.incarnation != self.peer_incarnation
        self.association = list(hello.association)
        begun = self.begun + 1
        self._take(hello)
        self.begun = begun
        return Verdict(Outcome.FRESH, "the peer has restarted" if restarted else "", restarted=restarted)

    def _take(self, hello: Hello) -> None:
        self.peer_incarnation = hello.incarnation
        self.peer_version = hello.version
        self.begun = hello.begun
