"""What an agent says of its guest, as libvirt passes it on: bounded and cleaned, for a guest may say anything. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

import msgspec

from vmhost.printable import printable

_MOST = 32
"""File systems, and addresses, that are kept; the names of the cards are not."""
_LONGEST = 100  # characters
_LARGEST = 2**60  # bytes of a file system


class FileSystem(msgspec.Struct, frozen=True):
    """One that is mounted. size, used: bytes, both None if they are not known."""

    at: str
    kind: str
    size: int | None
    used: int | None


class Facts(msgspec.Struct, frozen=True):
    """os, host: names, empty if not known. addresses: like "10.1.0.10/24", those that others can use."""

    os: str
    host: str
    addresses: tuple[str, ...]
    file_systems: tuple[FileSystem, ...]


def facts(info: Mapping[str, object]) -> Facts:
    """Of the parameters that virDomainGetGuestInfo gives; what is missing or no such thing is left out."""
    return Facts(
        os=_text(info.get("os.pretty-name")),
        host=_text(info.get("hostname")),
        addresses=tuple(dict.fromkeys(_addresses(info)))[:_MOST],
        file_systems=tuple(_file_system(info, f"fs.{at}") for at in range(_count(info.get("fs.count")))),
    )


def _addresses(info: Mapping[str, object]) -> Iterator[str]:
    for card in range(_count(info.get("if.count"))):
        for at in range(_count(info.get(f"if.{card}.addr.count"))):
            key = f"if.{card}.addr.{at}"
            try:
                found = ipaddress.ip_interface(f"{info.get(f'{key}.addr')}/{info.get(f'{key}.prefix')}")
            except ValueError:
                continue
            # A scope means something in the guest only, and may be any text.
            if not (found.is_loopback or found.is_link_local or getattr(found, "scope_id", None)):
                yield str(found)


def _file_system(info: Mapping[str, object], key: str) -> FileSystem:
    size, used = (_size(info.get(f"{key}.{what}-bytes")) for what in ("total", "used"))
    if size is None or used is None or used > size:
        size = used = None
    return FileSystem(
        _text(info.get(f"{key}.mountpoint")), _text(info.get(f"{key}.fstype")), size=size, used=used
    )


def _count(value: object) -> int:
    return min(value, _MOST) if isinstance(value, int) else 0


def _size(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value < _LARGEST else None


def _text(value: object) -> str:
    return printable(value)[:_LONGEST] if isinstance(value, str) else ""
