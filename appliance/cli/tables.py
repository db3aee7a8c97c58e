"""How answers of the daemons look on a terminal. Pure: plain values in, text and tables out; absent keys are blank."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from appliance.config.units import show_duration, show_size

_WIDTH = 10_000  # characters; wider than any table
_COLOURS = {
    "up": "green",
    "down": "red",
    "path_down": "red",
    "silent": "red",
    "refused": "red",
    "held": "yellow",
    "connecting": "yellow",
    "bypassed": "yellow",
    "full": "yellow",
    "draining": "yellow",
}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would call it a failure."""
        raise BrokenPipeError


def console() -> Console:
    """Standard output. Nothing in an answer is taken for markup: addresses and errors have brackets of their own.

    Lines are as long as they must be, whatever the screen or pipe: half an address helps nobody.
    """
    return _Console(markup=False, highlight=False, width=_WIDTH)


def line(*parts: str | tuple[str, str]) -> Text:
    """Text and (text, style) in a row."""
    return Text.assemble(*parts)


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """An unframed table; the columns in `right` hold numbers."""
    made = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    numbers = set(right)
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", no_wrap=True)
    return made


def size(value: object) -> str:
    """Bytes."""
    return show_size(value) if isinstance(value, int | float) else ""


def percent(value: object) -> str:
    """A share, 0 to 1."""
    return f"{value:.1%}" if isinstance(value, int | float) else ""


def duration(value: object) -> str:
    """Seconds; none is not known."""
    return show_duration(value) if isinstance(value, int | float) and value > 0 else ""


def ago(moment: object, now: float | None = None) -> str:
    """How long ago a moment (seconds since 1970) was."""
    if not isinstance(moment, int | float):
        return ""
    return show_duration(max(0.0, (time.time() if now is None else now) - moment))


def endpoint(value: object) -> str:
    """[host, port], or text."""
    if isinstance(value, list | tuple) and len(value) == 2:
        host, port = value
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return str(value or "")


def state(peer: Mapping[str, Any]) -> Text:
    """A peer's state, in its colour."""
    name = str(peer.get("state", ""))
    if peer.get("bypassed") and name == "up":
        name = "bypassed"
    return Text(name, _COLOURS.get(name, ""))


def both(one: object, other: object) -> int:
    """The sum of two counters that may be absent."""
    return sum(value for value in (one, other) if isinstance(value, int))
