"""A block in, original bytes out, verified before anyone sees them; the copy of the peer's log grows."""

import ctypes
from typing import Any

from dedupe._kernel import ffi, lib
from dedupe.block import LARGEST, Buffer, checksum
from dedupe.errors import BadBlock
from dedupe.index import Index
from dedupe.literals import LiteralDecoder
from dedupe.log import Log
from dedupe.offer import LARGEST_OFFSET
from dedupe.view import View
from dedupe.window import DecodeWindow

SENDERS, RECEIVERS = 0, 1
THEIRS = 1  # how our own index names the peer's log

_REASONS = {
    lib.BL_TRUNCATED: "cut short",
    lib.BL_LENGTH: "lengths do not add up or pass the limit",
    lib.BL_REFERENCE: "refers to bytes that are not there",
    lib.BL_RESERVED: "a reserved value is set",
}

# The documented way to a bytes object that its maker fills in; bytes(n) would clear it first.
_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.argtypes = (ctypes.c_char_p, ctypes.c_ssize_t)
_new_bytes.restype = ctypes.py_object


class Decoder:
    """The other direction of a cache. Runs in one thread at a time."""

    def __init__(self, theirs: Log, mine: Log, index: Index) -> None:
        self._theirs, self._mine, self._index = theirs, mine, index
        self._literals = LiteralDecoder()
        self._views_room: Any = ffi.new("bl_view[]", lib.BL_LOGS)
        self._views = (View(self._views_room[SENDERS], theirs), View(self._views_room[RECEIVERS], mine))
        self._head: Any = ffi.new("bl_block *")
        self._oldest: Any = ffi.new("uint64_t[]", lib.BL_LOGS)
        self.session = 0
        self.blocks = self.raw = self.wire = self.copied = self.literal = self.logged = self.bad = 0

    def copy_to(self, theirs: Log) -> None:
        """What the peer writes is kept there from now on."""
        self._theirs = theirs
        self._views = (View(self._views_room[SENDERS], theirs), self._views[RECEIVERS])

    def begin(self) -> None:
        self.session += 1

    def use(self, index: Index) -> None:
        """Another index, from the next block on."""
        self._index = index

    def decode(self, wire: Buffer, window: DecodeWindow | None, limit: int) -> bytes:
        if window is not None:
            window.settle(self.session)
        try:
            return self._decode(wire, window, min(limit, LARGEST))
        except BadBlock:
            self.bad += 1
            if window is not None:
                window.reset()  # the sender starts a new stream when it hears of this
            raise

    def _decode(self, wire: Buffer, window: DecodeWindow | None, limit: int) -> bytes:
        head, data = self._head, ffi.from_buffer("uint8_t[]", wire)
        _check(lib.bl_block_read(data, len(wire), limit, head))
        view = memoryview(wire)
        prefix, payload = view[: head.hash_at], view[head.payload_at :]
        literals: bytes | memoryview
        if head.packed:
            packed = memoryview(self._unpack(payload, head.packed_length, window))
            tokens = ffi.from_buffer("uint8_t[]", packed)
            self._measure(tokens)
            prefix = memoryview(b"".join((prefix, packed[: head.token_length])))
            literals = packed[head.token_length :]
        else:
            tokens = data + head.token_at
            self._measure(tokens)
            literals = self._unpack(payload, head.literal_length, window)
        raw = self._copy(tokens, literals) if head.copied else bytes(literals)
        if checksum(raw, prefix, self._theirs.epoch) != view[head.hash_at : head.payload_at]:
            raise BadBlock("the bytes are not those that were sent")
        if head.logs:
            self._append(tokens, raw)
        self.blocks += 1
        self.raw += len(raw)
        self.wire += len(wire)
        self.copied += head.copied
        self.literal += head.literal_length
        self.logged += head.logged_length
        return raw

    def _unpack(self, payload: memoryview, length: int, window: DecodeWindow | None) -> bytes | memoryview:
        return self._literals.decode(self._head.coding, payload, length, window)

    def _measure(self, tokens: Any) -> None:
        head, theirs = self._head, self._theirs
        _check(lib.bl_block_measure(head, tokens))
        if head.logged_length > theirs.gap:
            raise BadBlock(f"logs {head.logged_length} bytes, more than was agreed on")
        if head.logs and not theirs.head <= head.base <= LARGEST_OFFSET - head.logged_length:
            raise BadBlock(f"log offset {head.base} where {theirs.head} is next")

    def _copy(self, tokens: Any, literals: bytes | memoryview) -> bytes:
        head = self._head
        raw: bytes = _new_bytes(None, head.raw_length)
        mine = self._mine
        disturbed = mine.disturbed
        self._views[SENDERS].show(self._theirs.held)
        self._views[RECEIVERS].show(mine.held)
        _check(
            lib.bl_decode(
                self._views_room,
                tokens,
                head.token_length,
                ffi.from_buffer("uint8_t[]", literals),
                len(literals),
                ffi.from_buffer("uint8_t[]", raw),
                len(raw),
                self._oldest,
            )
        )
        oldest = self._oldest[RECEIVERS]
        if oldest < mine.overwritten or (mine.disturbed != disturbed and oldest <= LARGEST_OFFSET):
            raise BadBlock("refers to bytes that our own writing has just replaced")
        return raw

    def _append(self, tokens: Any, raw: bytes) -> None:
        head, theirs = self._head, self._theirs
        start, end = head.base, head.base + head.logged_length
        theirs.begin(start, end)
        _check(
            lib.bl_append(
                theirs.ring.kernel,
                self._index.kernel,
                THEIRS,
                start,
                tokens,
                head.token_length,
                ffi.from_buffer("uint8_t[]", raw),
                len(raw),
                ffi.NULL,
                0,
            )
        )
        theirs.finish(start, end)


def _check(status: int) -> None:
    if status != lib.BL_OK:
        raise BadBlock(_REASONS[status])
