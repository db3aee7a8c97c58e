"""What people are told: a line for each application, the whole, and one honest sentence. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from appliance.config.units import show_duration, show_size
from appliance.estimate.traffic import Sums

OTHER = "not TCP"
_WORTH_SAYING = 0.005


@dataclass(frozen=True)
class Line:
    """One application. Shares are of all bytes that were seen, 0 to 1.

    `reduction`: 1 − WAN bytes / LAN bytes, as the codec found; None when it got nothing to try.
    `guessed`: the share of its bytes of which only the port says that they are its.
    """

    application: str
    protection: str
    bytes: int
    share: float
    flows: int
    guessed: float
    encrypted: bool
    reduction: float | None


@dataclass(frozen=True)
class Cost:
    """What looking on has cost: CPU seconds for each second, packets read and packets that came too fast."""

    cpu: float
    packets: int
    dropped: int
    one_flow_in: int


@dataclass(frozen=True)
class Report:
    """Shares of all bytes: encrypted, not TCP, and those that the rest would be reduced by."""

    seconds: float
    bytes: int
    encrypted: float
    other: float
    optimisable: float
    reduction: float
    lines: tuple[Line, ...]
    cost: Cost

    def tree(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"sentence": self.sentence()}

    def sentence(self) -> str:
        """What an administrator should take home, doubts included."""
        if not self.bytes:
            return f"Nothing was seen in {show_duration(self.seconds)}: is it the right interface?"
        shares = ((self.encrypted, "encrypted"), (self.other, "no TCP"))
        lost = " and ".join(f"{share:.0%} was {what}" for share, what in shares if share >= _WORTH_SAYING)
        said = f"Of {show_size(self.bytes)} in {show_duration(self.seconds)}, " + (
            f"{lost}, which gains nothing." if lost else "nothing was encrypted."
        )
        if self.optimisable < _WORTH_SAYING:
            return f"{said} Nothing is left that Branchline could reduce."
        said += (
            f" {self.optimisable:.0%} could be optimised: {self.reduction:.0%} of all bytes need not"
            " cross the WAN. The cache was empty at the beginning and saw this time only: repeats of what came before"
            " would be saved too."
        )
        if self.cost.dropped or self.cost.one_flow_in > 1:
            said += f" The traffic was too much to look at all of it: 1 flow in {self.cost.one_flow_in} was."
        return said


def report(seconds: float, sums: Mapping[tuple[str, str], Sums], other: float, cost: Cost) -> Report:
    """From the sums of each (application, protection) and the bytes that were no TCP; the largest first."""
    total = sum(found.bytes for found in sums.values()) + other
    lines = [
        _line(name, protection, found, total) for (name, protection), found in sums.items() if found.bytes
    ]
    lines.sort(key=lambda line: -line.bytes)
    if other:
        lines.append(Line(OTHER, "", round(other), other / total, 0, 0.0, encrypted=False, reduction=0.0))
    encrypted = sum(line.share for line in lines if line.encrypted)
    other_share = other / total if total else 0.0
    return Report(
        seconds=seconds,
        bytes=round(total),
        encrypted=encrypted,
        other=other_share,
        optimisable=max(0.0, 1 - encrypted - other_share) if total else 0.0,
        reduction=sum(line.share * (line.reduction or 0.0) for line in lines),
        lines=tuple(lines),
        cost=cost,
    )


def _line(name: str, protection: str, found: Sums, total: float) -> Line:
    encrypted = protection == "encrypted"
    reduction: float | None = 0.0 if encrypted else None
    if found.sampled:
        # Blocks of what does not compress are a little longer than it is; as messages they would not be.
        reduction = max(0.0, 1 - found.encoded / found.sampled)
    return Line(
        application=name,
        protection=protection,
        bytes=round(found.bytes),
        share=found.bytes / total,
        flows=round(found.flows),
        guessed=found.guessed / found.bytes,
        encrypted=encrypted,
        reduction=reduction,
    )
