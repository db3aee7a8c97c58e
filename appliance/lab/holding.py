"""Which packet of one direction goes on when: the decision of the delaying process. Pure."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Holding:
    """delay, jitter in seconds; reorder: fraction 0..1 of packets that are not held at all."""

    delay: float = 0.0
    jitter: float = 0.0
    reorder: float = 0.0


class Line:
    """Packets of one direction, held back in order. random() gives floats in 0..1."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._held: deque[tuple[float, int]] = deque()  # (due, packet), due never decreases
        self.holding = Holding()

    def arrive(self, packet: int, now: float) -> bool:
        """Take a packet in. True: it overtakes, let this one alone go on at once."""
        holding = self.holding
        if holding.reorder and self._held and self._random() < holding.reorder:
            return True
        due = now + holding.delay
        if holding.jitter:
            due += (2 * self._random() - 1) * holding.jitter
        if self._held:
            due = max(due, self._held[-1][0])  # jitter must not reorder
        self._held.append((due, packet))
        return False

    def due(self, now: float) -> int | None:
        """Forget every packet that is due and return the last of them: it goes on with all before it."""
        held, last = self._held, None
        while held and held[0][0] <= now:
            last = held.popleft()[1]
        return last

    def next_due(self) -> float | None:
        return self._held[0][0] if self._held else None

    def __len__(self) -> int:
        return len(self._held)
