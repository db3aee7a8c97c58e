"""What the emulated WAN does to packets, as one value."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WanProfile:
    """A WAN link. Everything holds for each direction, except `rtt`, which is the sum of both.

    rate: bytes/s, None = unlimited. rtt: seconds added to a round trip. jitter: seconds by which the
    one-way delay varies up and down, uniformly (packets stay in order). loss and reorder: fractions 0..1
    of the packets that are dropped, or that overtake those before them (this needs a delay). buffer: seconds of
    packets that wait at the bottleneck before it drops.
    """

    rate: float | None = None
    rtt: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    reorder: float = 0.0
    buffer: float = 0.08

    def __post_init__(self) -> None:
        if self.rate is not None and self.rate < 1000:
            raise ValueError(f"rate {self.rate} bytes/s: at least 1000, or None for unlimited")
        if not (0 <= self.rtt <= 60 and 0 <= self.jitter <= 30):
            raise ValueError(f"rtt {self.rtt} s, jitter {self.jitter} s: 0..60 and 0..30")
        if not 0.001 <= self.buffer <= 10:
            raise ValueError(f"buffer {self.buffer} s: 0.001..10")
        if not (0 <= self.loss <= 1 and 0 <= self.reorder <= 1):
            raise ValueError(f"loss {self.loss}, reorder {self.reorder}: fractions 0..1")
        if self.reorder and not self.rtt:
            raise ValueError("reorder needs an rtt: packets overtake by not being delayed")

    @property
    def delay(self) -> float:
        """One-way delay in seconds."""
        return self.rtt / 2

    @property
    def delays(self) -> bool:
        """True when packets must be held back at all."""
        return bool(self.rtt or self.jitter)

    @property
    def per_packet(self) -> bool:
        """True when the link must see packets as they are on a wire, not the kernel's 64 KiB aggregates."""
        return self.rate is not None or self.loss > 0 or self.reorder > 0
