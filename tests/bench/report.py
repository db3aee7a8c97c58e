"""A benchmark's figures: one row each, for people and for machines."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

HEADINGS = ("", "Branchline", "peer", "ratio", "unit", "peer is")


@dataclass(frozen=True)
class Row:
    """One figure beside a peer's of the same run. ratio: value / peer_value; None where there is no peer."""

    name: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None

    @property
    def ratio(self) -> float | None:
        return round(self.value / self.peer_value, 4) if self.peer_value else None

    def json(self) -> str:
        rounded = {"value": _round(self.value), "peer_value": _round(self.peer_value)}
        return json.dumps(asdict(self) | rounded | {"ratio": self.ratio})


def progress(text: str) -> None:
    """A line for whoever waits."""
    print(text, file=sys.stderr, flush=True)


def table(rows: Sequence[Row]) -> str:
    """Aligned columns: the name to the left, figures to the right."""
    cells = [
        HEADINGS,
        *((r.name, _text(r.value), _text(r.peer_value), _text(r.ratio), r.unit, r.peer) for r in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if 1 <= at <= 3 else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def _text(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
