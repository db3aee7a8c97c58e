"""What a peer is to this box: up, or why not. Sans I/O.

Three things that look alike from afar are told apart: no path to the peer carries anything (`path_down`); its host
answers, and its data plane does not (`silent`); its host answers, and nobody has our lanes (`down`). And a fourth: it
answers in words that are not understood here (`other_version`).
"""

from __future__ import annotations

import enum
import math

SILENT = 10  # heartbeats without a word from the peer's data plane


class State(enum.StrEnum):
    CONNECTING = "connecting"
    UP = "up"
    PATH_DOWN = "path_down"
    SILENT = "silent"
    DOWN = "down"
    OTHER_VERSION = "other_version"


class Standing:
    def __init__(self) -> None:
        self.state = State.CONNECTING
        self.refused = False  # the last word of the peer's host was that nobody is there
        self.strange = ""  # why the peer is not understood, if that was its last word
        self._good = -math.inf  # when the peer last spoke while both sessions had a lane

    def judge(
        self, now: float, interval: float, *, heard: float, attached: bool, lanes: bool, alive: bool
    ) -> State:
        """The peer's state.

        `heard`: when a frame of its data plane came. `attached`: both sessions have a lane. `lanes`: there is
        a lane at all. `alive`: a path is not down.
        """
        if attached:
            self._good = max(self._good, heard)
        if lanes and now - self._good <= SILENT * interval:
            self.state, self.refused, self.strange = State.UP, False, ""
        elif self.strange:
            self.state = State.OTHER_VERSION
        elif self.state is not State.CONNECTING:
            if lanes and alive:
                self.state = State.SILENT
            elif self.refused:
                self.state = State.DOWN
            else:
                self.state = State.PATH_DOWN
        return self.state

    def begin_anew(self) -> None:
        """The association is over: whatever was heard belongs to it."""
        self._good = -math.inf
        if self.state in (State.UP, State.SILENT):
            self.state = State.CONNECTING

    def forgive(self, now: float) -> None:
        """This box was late itself: what waits to be read may be a word of the peer."""
        if self.state is State.UP:
            self._good = now
