"""Which log ranges a block refers to."""

from collections.abc import Iterator

from dedupe._kernel import ffi, lib

COPY, LOG_SHIFT, LOG_MASK, LENGTH_SHIFT = 1, 2, 3, 4


def references(wire: bytes) -> Iterator[tuple[int, int, int]]:
    """(log, start, end) of each COPY: log 0 is the sender's, 1 the receiver's. The block must be one of our own."""
    head = ffi.new("bl_block *")
    if lib.bl_block_read(ffi.from_buffer("uint8_t[]", wire), len(wire), 1 << 62, head) != lib.BL_OK:
        raise AssertionError("the kernel cannot read its own block")
    at, previous = head.token_at, [0] * lib.BL_LOGS
    while at < head.hash_at:
        token, at = _varint(wire, at)
        if not token & COPY:
            continue
        log, length = token >> LOG_SHIFT & LOG_MASK, token >> LENGTH_SHIFT
        difference, at = _varint(wire, at)
        start = previous[log] + (difference >> 1 ^ -(difference & 1)) & (1 << 64) - 1
        previous[log] = start + length
        yield log, start, start + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
