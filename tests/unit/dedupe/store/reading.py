"""What a log of a cache really holds, read as the codec reads it."""

from __future__ import annotations

from dedupe._kernel import ffi, lib

from dedupe import Cache
from dedupe.log import Log
from dedupe.ranges import Ranges, above


def content(log: Log, start: int, end: int) -> bytes:
    out = ffi.new("uint8_t[]", end - start)
    lib.bl_log_read(log.ring.kernel, start, out, end - start)
    return bytes(ffi.buffer(out))


def logs(writer: Cache, reader: Cache) -> tuple[Log, Log]:
    """Both copies of the log that the first writes."""
    return writer._mine, reader._theirs


def agreed(writer: Cache, reader: Cache) -> Ranges:
    """What the writer may refer to. Checked: both sides call it valid, and hold the same bytes there."""
    mine, theirs = logs(writer, reader)
    low = mine.head - mine.span
    assert (mine.epoch, mine.head, mine.span) == (theirs.epoch, theirs.head, theirs.span)
    assert above(mine.valid, low) == above(theirs.valid, low)
    for start, end in above(mine.valid, low):
        assert content(mine, start, end) == content(theirs, start, end)
    return above(mine.valid, low)
