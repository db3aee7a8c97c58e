"""Sizes, rates and times as people write them: "512MiB", "20mbit", "80ms".

In code a size is bytes (int), a rate is bytes per second (int), a time is seconds (float). The one parser here
serves the configuration file and every command line option.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Self

_SIZE = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "k": 2**10,
    "m": 2**20,
    "g": 2**30,
    "t": 2**40,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_RATE = {  # bits per second as links are sold, or bytes per second as disks are
    "bit": 1 / 8,
    "kbit": 10**3 / 8,
    "mbit": 10**6 / 8,
    "gbit": 10**9 / 8,
    "": 1,
    "b/s": 1,
    "kb/s": 10**3,
    "mb/s": 10**6,
    "gb/s": 10**9,
}
_TIME = {"": 1, "us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400}

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z/]*)\s*", re.ASCII)
_LARGEST = 2**62


def _scaled(text: object, units: Mapping[str, float], what: str, examples: str) -> float:
    if isinstance(text, bool) or not isinstance(text, (int, float, str)):
        raise ValueError(f"{text!r} is not a {what}; write it like {examples}")
    if isinstance(text, str):
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise ValueError(f'"{text}" is not a {what}; write it like {examples}')
        number, unit = float(match[1]), match[2].lower()
        if unit not in units:
            known = ", ".join(name for name in units if name)
            raise ValueError(f'"{match[2]}" in "{text}" is not a unit of a {what}; the units are {known}')
        value = number * units[unit]
    else:
        value = float(text)
    if not 0 <= value < _LARGEST:  # also refuses nan
        raise ValueError(f"{text!r} is out of range for a {what}; write it like {examples}")
    return value


def size(text: object) -> int:
    """Bytes from "512MiB", "64k" (1024s), "1GB" (1000s) or a plain number of bytes. ValueError says what to write."""
    return round(_scaled(text, _SIZE, "size", '"512MiB" or 65536 (bytes)'))


def rate(text: object) -> int:
    """Bytes per second from "20mbit", "1.5MB/s" or a number of bytes per second; ValueError as `size`."""
    return round(_scaled(text, _RATE, "rate", '"20mbit" or "2.5MB/s"'))


def duration(text: object) -> float:
    """Seconds from "80ms", "2min" or a plain number of seconds. ValueError says what to write."""
    return _scaled(text, _TIME, "time", '"250ms" or 0.25 (seconds)')


class Size(int):
    """A number of bytes."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """From what `size` takes."""
        return cls(size(value))


class Rate(int):
    """A number of bytes per second."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """From what `rate` takes."""
        return cls(rate(value))


class Duration(float):
    """A number of seconds."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """From what `duration` takes."""
        return cls(duration(value))


def show_size(count: float) -> str:
    """`count` bytes for a person: "512 MiB", "1.3 GiB"."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{_short(value)} {unit}"
        value /= 1024
    return f"{_short(value)} TiB"


def show_rate(bytes_per_second: float) -> str:
    """A rate for a person, in the megabits that links are sold in: "20 Mbit/s"."""
    return f"{_short(bytes_per_second * 8 / 1e6)} Mbit/s"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def show_duration(seconds: float) -> str:
    """`seconds` for a person: "250 µs", "81 ms", "12 s", "5 min", "3 h 20 min", "12 d 4 h"."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{_short(seconds * 1e3)} ms"
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
