"""What two peers tell each other about their logs when a session begins, and what follows from it. Pure."""

import secrets
from dataclasses import dataclass

from dedupe import ranges
from dedupe.errors import OfferError
from dedupe.ranges import Ranges

VERSION = 1
LARGEST_OFFSET = 1 << 62
LARGEST_OFFER = 8192
MOST_AHEAD = 1 << 56  # bytes that a writer may have forgotten of its log; who says more is mistaken
IN_MEMORY = 64 << 20  # bytes to be referred to, at most, of a log in memory that a reader with a disk takes


@dataclass(frozen=True, slots=True)
class LogState:
    """One side's view of one log. epoch 0: holds no copy. head: where the next byte goes."""

    epoch: int
    head: int
    span: int
    gap: int
    valid: Ranges


@dataclass(frozen=True, slots=True)
class Offer:
    """The log that the offering side writes, and its copy of the log that the other side writes."""

    writes: LogState
    reads: LogState


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides use for one log until the next session."""

    epoch: int
    head: int
    span: int
    gap: int
    valid: Ranges


def agree(writer: LogState, reader: LogState) -> Agreement:
    """Both sides compute this from the same two states and so come to the same result."""
    span, gap = min(writer.span, reader.span), min(writer.gap, reader.gap)
    if writer.epoch != reader.epoch or reader.head > writer.head + MOST_AHEAD:
        return Agreement(writer.epoch, writer.head, span, gap, ())
    if reader.head > writer.head:  # the writer has lost its memory of offsets it used: skip them all
        return Agreement(writer.epoch, reader.head, span, gap, ())
    return Agreement(writer.epoch, writer.head, span, gap, ranges.common(writer.valid, reader.valid))


def disk_epoch() -> int:
    """The name of a new log that outlives its process: odd, and else random."""
    return secrets.randbits(64) | 1


def memory_epoch() -> int:
    """The name of a new log that ends with its process: even, and else random."""
    return (secrets.randbits(63) or 1) << 1


def in_memory(log: LogState) -> bool:
    """Whether the log ends with the process that writes it."""
    return log.epoch % 2 == 0


def pack(offer: Offer) -> bytes:
    """Version byte, then both states: epoch (8 bytes, little endian) and varints."""
    out = bytearray([VERSION])
    for state in (offer.writes, offer.reads):
        out += state.epoch.to_bytes(8, "little")
        for number in (state.head, state.span, state.gap, len(state.valid)):
            _put(out, number)
        at = 0
        for start, end in state.valid:
            _put(out, start - at)
            _put(out, end - start)
            at = end
    return bytes(out)


def parse(data: bytes) -> Offer:
    """The inverse of pack; OfferError for anything else."""
    if len(data) > LARGEST_OFFER:
        raise OfferError(f"an offer of {len(data)} bytes; at most {LARGEST_OFFER} are allowed")
    if not data or data[0] != VERSION:
        raise OfferError(f"offer version {data[:1].hex() or 'missing'}; this side speaks version {VERSION}")
    writes, at = _state(data, 1)
    reads, at = _state(data, at)
    if at != len(data):
        raise OfferError("bytes after the offer's end")
    if writes.epoch == 0:
        raise OfferError("the written log has no epoch")
    return Offer(writes, reads)


def _state(data: bytes, at: int) -> tuple[LogState, int]:
    if len(data) < at + 8:
        raise OfferError("offer cut short")
    epoch, at = int.from_bytes(data[at : at + 8], "little"), at + 8
    numbers = []
    for _ in range(4):
        number, at = _get(data, at)
        numbers.append(number)
    head, span, gap, count = numbers
    if count > ranges.MOST:
        raise OfferError(f"{count} ranges; at most {ranges.MOST} are allowed")
    if not span or not gap:
        raise OfferError("a log without capacity")
    pairs: list[tuple[int, int]] = []
    end = 0
    for _ in range(count):
        hole, at = _get(data, at)
        length, at = _get(data, at)
        if length == 0 or (hole == 0 and pairs):
            raise OfferError("ranges that are empty or touch")
        start = end + hole
        end = start + length
        pairs.append((start, end))
    if end > head:
        raise OfferError(f"a range ends at {end}, past the head {head}")
    return LogState(epoch, head, span, gap, tuple(pairs)), at


def _put(out: bytearray, number: int) -> None:
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _get(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 63, 7):
        if at >= len(data):
            raise OfferError("offer cut short")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number > LARGEST_OFFSET:
                break
            return number, at
    raise OfferError("a number out of range")
