"""One measured figure of a scenario, beside its peer's and its limit."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """value and limit in `unit`; peer_value: the haproxy pair's in the same run, None where it has none.

    The value is to be at most the limit, or at least it where `at_least`.
    """

    name: str
    value: float
    unit: str
    limit: float
    peer_value: float | None = None
    at_least: bool = False

    @property
    def ok(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def as_json(self) -> dict[str, Any]:
        """name, value, unit, peer_value, limit, at_least, ok."""
        return asdict(self) | {
            "value": _short(self.value),
            "peer_value": None if self.peer_value is None else _short(self.peer_value),
            "limit": _short(self.limit),
            "ok": self.ok,
        }

    def cells(self) -> tuple[str, ...]:
        """The same as text for a table."""
        peer = "–" if self.peer_value is None else f"{_short(self.peer_value):,}"
        sign = "≥" if self.at_least else "≤"
        verdict = "ok" if self.ok else "NOT OK"
        return (
            self.name,
            f"{_short(self.value):,}",
            self.unit,
            peer,
            f"{sign} {_short(self.limit):,}",
            verdict,
        )


HEADINGS = ("name", "value", "unit", "haproxy", "limit", "")


def _short(value: float) -> float:
    """Four digits are more than a shared machine repeats."""
    return float(f"{value:.4g}")
