"""Finds the rate of a link that nobody has written down, from the queue that stands before it. Pure.

While the queue at the bottleneck stays short, nothing is held. When it stands, what leaves is held below what left,
less and less until the queue goes down; then the limit rises again, quickly to where the queue began and slowly
beyond, as long as it is used (compare LEDBAT, RFC 6817, and the sawtooth of TCP CUBIC, RFC 9438).
"""

from __future__ import annotations

from typing import Final

TARGET_S: Final = 0.025  # of queue: more is standing,
LOW_S: Final = 0.012  # less is none
PATIENCE_S: Final = 0.4  # a change of the limit shows in the queue no sooner, besides the round trip
DRAINING: Final = 0.05  # seconds of queue that go in a second when it is going down,
DRAINED_S: Final = 3.0  # and this long it may take until it has gone
FIRST_CUT, CUT, DEEP_CUT = 0.8, 0.88, 0.7
DEEP_S: Final = 0.08  # of queue, for which something deeper is needed
QUICKLY, SLOWLY = (
    0.25,
    0.02,
)  # of itself that the limit rises in a second: below what was too much, and from there
BOLD_S: Final = 5.0  # without a queue after which it rises twice as fast
NEAR: Final = 0.93  # of what was too much
USED: Final = 0.7  # of the limit; one that is not used does not rise
LEAST: Final = 8_000  # bytes per second


class Finder:
    """One path. Rates are bytes per second, times seconds on any one clock."""

    def __init__(self) -> None:
        self.limit = 0  # 0: nothing is held
        self._too_much = 0.0
        self._next_cut = 0.0
        self._last: tuple[float, float] | None = None

    def step(self, now: float, delay: float, sent: float) -> int:
        """`delay` is the queue now, in seconds, `sent` what leaves; returns the limit."""
        last, self._last = self._last, (now, delay)
        elapsed = now - last[0] if last else 0.0
        if delay > TARGET_S:
            falls = (last[1] - delay) / elapsed if last and elapsed > 0 else 0.0
            standing = last is not None and last[1] > LOW_S
            if standing and now >= self._next_cut and falls < max(DRAINING, delay / DRAINED_S):
                self._cut(now, delay, sent, falls > DRAINING)
        elif self.limit and delay < LOW_S and sent > USED * self.limit:
            bold = SLOWLY * (1 + max(0.0, now - self._next_cut) / BOLD_S)
            pace = QUICKLY if self.limit < NEAR * self._too_much else min(bold, QUICKLY)
            self.limit = round(self.limit * (1 + pace * min(elapsed, 1.0)))
        return self.limit

    def _cut(self, now: float, delay: float, sent: float, falling: bool) -> None:
        if not self.limit:
            self._too_much, part = sent, FIRST_CUT
        else:
            if not falling:
                self._too_much = min(self.limit, max(sent, LEAST))
            part = DEEP_CUT if delay > DEEP_S else CUT
        self.limit = max(LEAST, round(min(self.limit or sent, max(sent, LEAST)) * part))
        self._next_cut = now + PATIENCE_S
