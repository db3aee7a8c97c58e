"""Variable-length integers, as QUIC writes them (RFC 9000, section 16): the two top bits give the length."""

from __future__ import annotations

LIMIT = 1 << 62
_SHORT = [bytes((value,)) for value in range(0x40)]


def varint(value: int) -> bytes:
    """1, 2, 4 or 8 bytes for 0 ≤ value < 2^62; ValueError outside."""
    if value < 0x40:
        if value < 0:
            raise ValueError(f"{value} is negative")
        return _SHORT[value]
    if value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if value < 0x4000_0000:
        return (value | 0x8000_0000).to_bytes(4, "big")
    if value < LIMIT:
        return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")
    raise ValueError(f"{value} needs more than 62 bits")


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The integer at `at` and the position behind it; IndexError when `data` ends before it does."""
    first = data[at]
    if first < 0x40:
        return first, at + 1
    size = 1 << (first >> 6)
    end = at + size
    if end > len(data):
        raise IndexError("the integer is cut off")
    return int.from_bytes(data[at:end], "big") & ((1 << (8 * size - 2)) - 1), end
