"""The journal's records and what they add up to. Pure.

A ring is divided into segments of 2^bits bytes; segment n lives in slot n modulo the number of slots. The ledger knows
for each slot which pieces of its newest segment are on the disk, with their checksums.
"""

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import xxhash

from dedupe.offer import LARGEST_OFFSET

_HEADER = struct.Struct("<8sQQIII")
_RECORD = struct.Struct("<IIQQ")
_CHECK = struct.Struct("<Q")
_CHECKED = struct.Struct("<IIQQQ")
_SEEDS = (1 << 64) - 1
MAGIC = b"BLJOURN1"
HEADER_BYTES = _HEADER.size + _CHECK.size
RECORD_BYTES = _RECORD.size + _CHECK.size


class Role(enum.IntEnum):
    """Which of a cache's two logs."""

    WRITTEN = 0
    RECEIVED = 1


class Kind(enum.IntEnum):
    HELD = 1  # [offset, offset + length) is on the disk and has this hash; it lies in one segment
    DROPPED = 2  # nothing of [offset, offset + length) is held
    LEASED = 3  # offsets below this one may have been used, and what was in their places is gone
    CLOSED = 4  # an orderly end; offset is the head. The last record


_KINDS = {int(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Header:
    """Which log a journal belongs to, and how its ring is divided."""

    cache: int
    epoch: int
    role: Role
    bits: int
    slots: int

    def pack(self) -> bytes:
        data = _HEADER.pack(MAGIC, self.cache, self.epoch, self.role, self.bits, self.slots)
        return data + _CHECK.pack(xxhash.xxh3_64_intdigest(data))


class Record(NamedTuple):  # quick to make: a large cache has a hundred thousand of them
    kind: Kind
    offset: int
    length: int = 0
    hash: int = 0

    @property
    def end(self) -> int:
        return self.offset + self.length

    def pack(self, epoch: int, number: int) -> bytes:
        """number: its place among the journal's records; a record read at another place is void."""
        data = _RECORD.pack(self.kind, self.length, self.offset, self.hash)
        return data + _CHECK.pack(xxhash.xxh3_64_intdigest(data, epoch + number & _SEEDS))


def parse_header(data: bytes) -> Header:
    """ValueError says what is wrong."""
    if len(data) < HEADER_BYTES:
        raise ValueError("it is cut short")
    (check,) = _CHECK.unpack_from(data, _HEADER.size)
    magic, cache, epoch, role, bits, slots = _HEADER.unpack_from(data)
    if magic != MAGIC or check != xxhash.xxh3_64_intdigest(data[: _HEADER.size]):
        raise ValueError("its header is damaged")
    return Header(cache, epoch, Role(role), bits, slots)


def parse_records(data: bytes, header: Header) -> Iterator[Record]:
    """Those after the header, up to the first that is damaged or out of range: nothing after it was ever relied on."""
    at, seed, segment = HEADER_BYTES, header.epoch, 1 << min(header.bits, 62)
    whole = (len(data) - at) // RECORD_BYTES * RECORD_BYTES
    for kind, length, offset, digest, check in _CHECKED.iter_unpack(data[at : at + whole]):
        if (
            check != xxhash.xxh3_64_intdigest(data[at : at + _RECORD.size], seed & _SEEDS)
            or kind not in _KINDS
            or offset + length > LARGEST_OFFSET
            or (kind == Kind.HELD and not 0 < length <= (-offset - 1) % segment + 1)
        ):
            return
        yield Record(_KINDS[kind], offset, length, digest)
        at, seed = at + RECORD_BYTES, seed + 1


class Ledger:
    """The sum of a journal's records."""

    def __init__(self, bits: int, slots: int) -> None:
        self.bits, self.slots = bits, slots
        self.leased = 0
        self.closed: int | None = None
        self._held: dict[int, tuple[int, tuple[Record, ...]]] = {}  # slot → (segment, its records, ascending)

    def apply(self, record: Record) -> None:
        self.closed = None
        if record.kind is Kind.HELD:
            self._hold(record)
        elif record.kind is Kind.LEASED:
            self.leased = max(self.leased, record.offset)
        elif record.kind is Kind.CLOSED:
            self.closed = record.offset
        else:
            self._drop(record.offset, record.end)

    def held(self) -> list[Record]:
        """Ascending."""
        found = [record for _, records in self._held.values() for record in records]
        return sorted(found, key=lambda record: record.offset)

    def newest_end(self) -> int:
        return max((records[-1].end for _, records in self._held.values() if records), default=0)

    def count(self) -> int:
        """Records that a new journal would have."""
        return sum(len(records) for _, records in self._held.values()) + 2

    def records(self) -> list[Record]:
        """The shortest journal with this sum."""
        lease = [Record(Kind.LEASED, self.leased)] if self.leased else []
        closed = [] if self.closed is None else [Record(Kind.CLOSED, self.closed)]
        return [*lease, *self.held(), *closed]

    def reopen(self) -> None:
        """There is no orderly end any more."""
        self.closed = None

    def _hold(self, record: Record) -> None:
        segment = record.offset >> self.bits
        slot = segment % self.slots
        known, records = self._held.get(slot, (-1, ()))
        if known < segment:
            self._held[slot] = (segment, (record,))
        if known != segment:
            return
        kept = [old for old in records if old.end <= record.offset or old.offset >= record.end]
        self._held[slot] = (segment, tuple(sorted([*kept, record], key=lambda piece: piece.offset)))

    def _drop(self, start: int, end: int) -> None:
        first, last = start >> self.bits, end - 1 >> self.bits
        if last - first < self.slots:
            slots = {segment % self.slots for segment in range(first, last + 1)}
        else:
            slots = set(range(self.slots))
        for slot in slots & self._held.keys():
            segment, records = self._held[slot]
            self._held[slot] = (
                segment,
                tuple(old for old in records if old.end <= start or old.offset >= end),
            )
