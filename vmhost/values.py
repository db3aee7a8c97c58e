"""What a single value of a recipe may be. `parse` raises ValueError with what is wrong and what to write."""

from __future__ import annotations

import re
from typing import Self

MIB, GIB = 2**20, 2**30

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_BRIDGE = re.compile(r"[A-Za-z0-9_.@-]{1,15}", re.ASCII)
_MAC = re.compile(r"[0-9a-f][02468ace](?::[0-9a-f]{2}){5}", re.ASCII)
_AMOUNT = re.compile(r"([0-9]{1,9}) ?([A-Za-z]+)", re.ASCII)
_SIZES = {"MiB": MIB, "GiB": GIB, "TiB": 2**40}
_TIMES = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def is_name(text: object) -> bool:
    """Whether a virtual machine or a disk may be called so."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


class Name(str):
    """Of a virtual machine or a disk; it is also the name of a file or a directory."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Check `value`."""
        if not is_name(value):
            raise ValueError(
                f"{value!r} is not a name; use 1 to 63 of a-z, 0-9 and hyphens, no hyphen at an end"
            )
        return cls(value)


class Bridge(str):
    """The name of a bridge of this box. Whether it is there is not checked here."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Check `value`."""
        if not isinstance(value, str) or not _BRIDGE.fullmatch(value) or value in (".", ".."):
            raise ValueError(
                f"{value!r} cannot be a bridge; `ip link show type bridge` lists those there are"
            )
        return cls(value)


class Mac(str):
    """The hardware address of a virtual network card, in lower case."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Check `value`."""
        text = str(value).lower()
        if not _MAC.fullmatch(text):
            raise ValueError(
                f'{value!r} is not the address of one network card; write it like "52:54:00:12:34:56"'
            )
        return cls(text)


class Size(int):
    """A number of bytes, written with its unit."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """From "512MiB", "20GiB" or "1TiB"."""
        found = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
        if found is None or found[2] not in _SIZES:
            raise ValueError(f'{value!r} is not a size; write it like "512MiB" or "20GiB"')
        return cls(int(found[1]) * _SIZES[found[2]])


class Seconds(int):
    """A time, written with its unit."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """From "90s", "5min", "24h" or "7d"."""
        found = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
        if found is None or found[2] not in _TIMES:
            raise ValueError(f'{value!r} is not a time; write it like "90s", "5min" or "24h"')
        return cls(int(found[1]) * _TIMES[found[2]])


def show_size(count: int) -> str:
    """`count` bytes for a person: "512 MiB", "1.3 GiB"."""
    return f"{count / GIB:.3g} GiB" if count >= GIB else f"{count / MIB:.3g} MiB"
