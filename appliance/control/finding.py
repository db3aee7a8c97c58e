"""Finds the rate of a link that nobody has written down, from the queue that stands before it. Pure.

While the queue at the bottleneck stays short, nothing is held. When it stands, what leaves is held below what left,
less and less until the queue goes down; then the limit rises again, quickly to where the queue began and slowly
beyond, as long as it is used (compare LEDBAT, RFC 6817, and the sawtooth of TCP CUBIC, RFC 9438).
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

TARGET_S: Final = 0.015  # of queue: more is standing,
LOW_S: Final = 0.006  # less is none
PATIENCE_S: Final = 0.4  # a change of the limit shows in the queue no sooner, besides the round trip
DRAINING: Final = 0.05  # seconds of queue that go in a second when it is going down,
DRAINED_S: Final = 3.0  # and this long it may take until it has gone
FIRST_CUT, CUT, DEEP_CUT = 0.8, 0.88, 0.7
DEEP_S: Final = 0.08  # of queue, for which something deeper is needed
QUICKLY, SLOWLY = (
    0.25,
    0.02,
)  # of itself that the limit rises in a second: below what was too much, and from there
BOLD_S: Final = 10.0  # without a queue after which it rises twice as fast, and then ever faster
NEAR: Final = 0.93  # of what was too much
USED: Final = 0.7  # of the limit; one that is not used does not rise
WHILE_S, WHILE_RTTS = 0.15, 1.5  # in which every sounding tells of a queue that stands
CAUSE_S: Final = 0.7  # in which the queue of now may have been sent, besides the round trip
VAIN: Final = 4  # cuts that changed nothing, after which a trial shows whether it is a queue at all:
TRIAL: Final = 0.05  # of the limit leaves, and a queue of ours
LOWERED: Final = 0.75  # comes down to so much of itself; a way that has become longer stays
HOPE: Final = 0.04  # of what left at first: a limit that is so low and does not help is lifted,
DESPAIR_S, LONGEST_S = 10.0, 600.0  # for so long, twice as long each time: the queue is not of our making
BELIEVED: Final = 0.5  # of what the link has carried without a queue; below it a queue is doubted
DOUBT_S: Final = 3.0  # until it has stood for so long, each time,
FORGET_S: Final = 300.0  # and what the link has carried counts half after so long
LEAST: Final = 8_000  # bytes per second


class Finder:
    """One path. Rates are bytes per second, times seconds on any one clock."""

    def __init__(self) -> None:
        self.limit = 0  # 0: nothing is held
        self._too_much = 0.0
        self._next_cut = 0.0
        self._last: tuple[float, float] | None = None
        self._at_first = 0.0  # what left when the limit was set, 0: not known,
        self._helped = False  # and whether the queue has gone since
        self._despair = DESPAIR_S
        self._vain = 0  # cuts since the queue went or a trial lowered it
        self._trial: tuple[float, float, int] | None = (
            None  # when it began, the depth, and the limit, of then
        )
        self._longer = 0.0  # s by which the way has become longer, and soundings are too deep
        self._proved = 0.0  # what has left, for a while, without a queue,
        self._believed = BELIEVED  # and the part of it that the link surely carries still
        self._doubted = math.inf  # since when a queue stands that cannot be of our making
        self._sounded: deque[tuple[float, float]] = deque([(-math.inf, 0.0)])
        self._sent: deque[tuple[float, float]] = deque()

    def alone(self) -> None:
        """Until now `sent` counted others' traffic as well; from now on it is this path's only."""
        self._sent.clear()
        self._at_first = 0.0

    def step(self, now: float, sounded: float, sent: float, rtt: float = 0.0) -> int:
        """`sounded` is the least depth of the queue that was heard since the last step, s; `sent` what leaves.

        Returns the limit. Only what all soundings of a while say is a queue: some are late for a loss that kept all
        behind it for a round trip, or for a processor that had other work.
        """
        self._sounded.append((now, sounded))
        while now - self._sounded[0][0] > WHILE_S + WHILE_RTTS * rtt:
            self._sounded.popleft()
        depth = min(depth for _, depth in self._sounded)
        self._longer = min(self._longer, depth)
        delay = depth - self._longer
        self._sent.append((now, sent))
        while now - self._sent[0][0] > CAUSE_S + rtt:
            self._sent.popleft()
        last, self._last = self._last, (now, delay)
        elapsed = now - last[0] if last else 0.0
        self._helped = self.limit > 0 and (self._helped or delay < TARGET_S)
        self._prove(now, delay, sent, elapsed)
        if delay < TARGET_S:
            self._vain = 0
        if self._trial is not None:
            self._judge(now, delay, rtt)
        elif delay > TARGET_S:
            falls = (last[1] - delay) / elapsed if last and elapsed > 0 else 0.0
            if now >= self._next_cut and falls < max(DRAINING, delay / DRAINED_S):
                self._cut(now, delay, max(rate for _, rate in self._sent), falls > DRAINING)
        elif self.limit and delay < LOW_S and sent > USED * self.limit:
            bold = SLOWLY * (1 + (max(0.0, now - self._next_cut) / BOLD_S) ** 2)
            known = max(NEAR * self._too_much, self._believed * self._proved)
            pace = QUICKLY if self.limit < known else min(bold, QUICKLY)
            self.limit = round(self.limit * (1 + pace * min(elapsed, 1.0)))
        return self.limit

    def _prove(self, now: float, delay: float, sent: float, elapsed: float) -> None:
        self._proved *= 0.5 ** (elapsed / FORGET_S)
        if delay < TARGET_S:
            self._doubted = math.inf
            if sent < USED * self.limit:
                self._believed = BELIEVED  # the queue has gone, and no limit of ours was in its way
        if delay < LOW_S and now - self._sent[0][0] >= CAUSE_S / 2:
            self._proved = max(self._proved, min(rate for _, rate in self._sent))

    def _doubts(self, now: float, sent: float) -> bool:
        """Whether a queue is rather a busy processor's, or others', because the link has carried far more before."""
        if sent >= self._believed * self._proved:
            return False
        self._doubted = min(self._doubted, now)
        if now - self._doubted < DOUBT_S:
            return True
        self._believed *= BELIEVED  # it stands: the link may have become slower
        self._doubted = now
        return False

    def _judge(self, now: float, delay: float, rtt: float) -> None:
        """The trial: next to nothing leaves."""
        assert self._trial is not None
        began, before, limit = self._trial
        if delay < LOWERED * before:
            self.limit, self._vain = limit, 0
        elif now - began > CAUSE_S + WHILE_S + (1 + WHILE_RTTS) * rtt + before / 2:
            self._longer += delay
            self.limit = 0
        else:
            return
        self._trial, self._next_cut = None, now + PATIENCE_S

    def _cut(self, now: float, delay: float, sent: float, falling: bool) -> None:
        if self._doubts(now, sent):
            return
        if self._vain == VAIN:
            self._trial = now, delay, self.limit
            self.limit = max(LEAST, round(TRIAL * self.limit))
            return
        self._vain += not falling
        sent = max(sent, self._believed * self._proved)
        if not self.limit:
            self._too_much, part = sent, FIRST_CUT
            self._at_first = 0.0
        elif self.limit <= max(HOPE * self._at_first, LEAST) and not self._helped:
            self.limit, self._next_cut = 0, now + self._despair
            self._despair = min(2 * self._despair, LONGEST_S)
            return
        else:
            if not falling:
                self._too_much = min(self.limit, max(sent, LEAST))
            part = DEEP_CUT if delay > DEEP_S else CUT
        self.limit = max(LEAST, round(min(self.limit or sent, max(sent, LEAST)) * part))
        self._at_first = self._at_first or sent
        self._next_cut = now + PATIENCE_S
