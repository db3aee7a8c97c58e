"""Original bytes in, a block out; the log and the index grow."""

import threading
from collections import deque
from typing import Any

from dedupe._kernel import ffi, lib
from dedupe.block import LARGEST, Block, Buffer, checksum
from dedupe.index import Index
from dedupe.literals import CODING, PACKED, Effort, LiteralEncoder
from dedupe.log import Log
from dedupe.ranges import above
from dedupe.references import references
from dedupe.view import View
from dedupe.window import EncodeWindow

MINE, THEIRS = 0, 1
RELOG_BELOW = 16384
LEAST_LOGGED = 256  # fewer bytes seldom hold an anchor to be found again by


class _Room(threading.local):
    """What the search writes to: about 1 MB, for all encoders of a thread, because it lasts one call."""

    def __init__(self) -> None:
        self.length = 0
        self.found: Any = ffi.new("bl_found *")
        self.parts: tuple[Any, ...] = ()


_room = _Room()


def _found_room(length: int) -> Any:
    """The calling thread's bl_found, with room for a block of that length."""
    if length > _room.length or not _room.length:
        _room.length = max(1 << 16, 1 << (length - 1).bit_length() if length else 0)
        anchors, copies = _room.length // 16, _room.length // 32 + 2
        token = ffi.new("uint8_t[]", copies * lib.BL_TOKEN_MAX)
        literal = ffi.new("uint8_t[]", _room.length)
        anchor = ffi.new("bl_anchor[]", anchors)
        copy = ffi.new("bl_copy[]", copies)
        _room.parts = (token, literal, anchor, copy)
        found = _room.found
        found.token, found.token_room = token, copies * lib.BL_TOKEN_MAX
        found.literal = literal
        found.anchor, found.anchor_room = anchor, anchors
        found.copy, found.copy_room = copy, copies
    return _room.found


class Encoder:
    """One direction of a cache. Everything but room, acknowledge and reject runs in one thread at a time."""

    def __init__(self, mine: Log, theirs: Log, index: Index) -> None:
        self._mine, self._theirs, self._index = mine, theirs, index
        self._literals = LiteralEncoder()
        self._search: Any = ffi.new("bl_search *", {"index": index.kernel, "relog_below": RELOG_BELOW})
        self._found: Any = None  # the calling thread's, from _match on
        self._views = (View(self._search.view[MINE], mine), View(self._search.view[THEIRS], theirs))
        self._head_room: Any = ffi.new("uint8_t[]", lib.BL_HEAD_MAX)
        self._rejected: deque[Block] = deque()
        self._acknowledged = 0
        self.session = 0
        self.blocks = self.raw = self.wire = self.copied = self.literal = self.logged = self.rejects = 0

    def copy_to(self, theirs: Log) -> None:
        """What the peer writes is kept there from now on."""
        self._theirs = theirs
        self._views = (self._views[MINE], View(self._search.view[THEIRS], theirs))

    def begin(self) -> None:
        """A session begins: nothing is on its way."""
        self.session += 1
        self._acknowledged = self._mine.head
        self._rejected.clear()

    def use(self, index: Index) -> None:
        """Another index, from the next block on."""
        self._index = index
        self._search.index = index.kernel

    def rest(self) -> None:
        """Gives back what only traffic needs; not while encode runs."""
        self._literals.rest()

    def room(self) -> int:
        mine = self._mine
        free = max(0, mine.gap - (mine.head - self._acknowledged))
        return min(free, max(0, mine.leased - mine.head)) if mine.leasing else free

    def acknowledge(self, block: Block) -> None:
        if block.session == self.session:
            self._acknowledged = max(self._acknowledged, block.base + block.logged)

    def reject(self, block: Block) -> None:
        if block.session == self.session:
            self._rejected.append(block)
            self.acknowledge(block)

    def encode(
        self, raw: Buffer, effort: Effort, window: EncodeWindow | None, store: bool, literal: bool
    ) -> Block:
        length = len(raw)
        if length > LARGEST:
            raise ValueError(f"a block of {length} bytes; at most {LARGEST} are allowed")
        while self._rejected:
            self._drop(self._rejected.popleft())
        if window is not None:
            window.settle(self.session)
        mine = self._mine
        store = store and LEAST_LOGGED <= length <= min(self.room(), mine.leased - mine.head)
        try:
            return self._encode(raw, effort, window, store, not literal)
        except BaseException:
            if window is not None:
                window.reset()  # its stream may have swallowed what will never be sent
            raise

    def _encode(
        self, raw: Buffer, effort: Effort, window: EncodeWindow | None, store: bool, copy: bool
    ) -> Block:
        mine, found = self._mine, _found_room(len(raw))
        self._found = found
        length, base = len(raw), mine.head
        data = ffi.from_buffer("uint8_t[]", raw)
        self._match(data, length, window, store, copy)
        literals: Any = b""
        if found.literal_length == length:
            literals = raw
        elif found.literal_length:
            literals = ffi.buffer(found.literal, found.literal_length)
        tokens = ffi.buffer(found.token, found.token_length)[:]
        coding, payload = self._literals.encode(tokens, literals, effort, window)
        packed = coding in PACKED
        announced = len(tokens) + found.literal_length if packed else len(tokens)
        head_length = lib.bl_head_write(
            self._head_room, coding, found.logged_length > 0, base, length, announced
        )
        head = ffi.buffer(self._head_room, head_length)[:]
        check = checksum(raw, head + tokens, mine.epoch)
        wire = b"".join((head, check, payload) if packed else (head, tokens, check, payload))
        if found.logged_length:
            self._append(data, length, base)
        block = Block(
            wire,
            tokens if found.copied else b"",
            length,
            found.copied,
            found.literal_length,
            base,
            found.logged_length,
            self.session,
            window,
        )
        self._count(block)
        return block

    def _match(self, data: Any, length: int, window: EncodeWindow | None, store: bool, copy: bool) -> None:
        """Fills self._found with tokens, literals and anchors."""
        search, found, mine, theirs = self._search, self._found, self._mine, self._theirs
        oldest_mine = mine.head + length - mine.span
        oldest_theirs = max(0, theirs.head - theirs.span)
        disturbed = theirs.disturbed
        self._views[MINE].show(above(mine.valid, oldest_mine))
        self._views[THEIRS].show(above(theirs.valid, oldest_theirs))
        search.copy, search.store = copy, store
        search.hint_log, search.hint_offset, search.hint_run = (0, 0, 0) if window is None else window.hint
        status = lib.bl_match(search, data, length, found)
        changed = theirs.overwritten > oldest_theirs or theirs.disturbed != disturbed
        if status == lib.BL_OK and found.reverse and changed:
            # The other thread has written over what was compared: do without that log.
            self._views[THEIRS].show(())
            search.hint_offset = 0
            status = lib.bl_match(search, data, length, found)
        if status != lib.BL_OK:
            raise AssertionError(f"the kernel refuses a block of {length} bytes: {status}")
        if window is not None:
            window.hint = (found.next_log, found.next_offset, found.next_run)

    def _append(self, data: Any, length: int, base: int) -> None:
        mine, found = self._mine, self._found
        end = base + found.logged_length
        mine.begin(base, end)
        status = lib.bl_append(
            mine.ring.kernel,
            self._index.kernel,
            MINE,
            base,
            found.token,
            found.token_length,
            data,
            length,
            found.anchor,
            found.anchors,
        )
        if status != lib.BL_OK:
            raise AssertionError(f"the kernel refuses its own tokens: {status}")
        mine.finish(base, end)

    def _drop(self, block: Block) -> None:
        self._mine.forget(block.base, block.base + block.logged)
        for log, start, end in references(block.tokens):
            (self._mine, self._theirs)[log].unshare(start, end)
        self.rejects += 1
        self._literals.refused(block.wire[0] & CODING)
        if block.window is not None:
            block.window.reset()

    def _count(self, block: Block) -> None:
        self.blocks += 1
        self.raw += block.raw_length
        self.wire += len(block.wire)
        self.copied += block.copied
        self.literal += block.literal
        self.logged += block.logged
