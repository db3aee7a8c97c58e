"""Which log ranges a block refers to."""

from collections.abc import Iterator

COPY, LOG_SHIFT, MOVED, LITERAL_SHIFT, COPY_SHIFT = 1, 2, 8, 2, 4


def references(tokens: bytes) -> Iterator[tuple[int, int, int]]:
    """(log, start, end) of each COPY: log 0 is the sender's, 1 the receiver's. The tokens must be our own."""
    at = done = 0
    shift = [0, 0]
    while at < len(tokens):
        head, at = _varint(tokens, at)
        if not head & COPY:
            done += head >> LITERAL_SHIFT
            continue
        log, length = head >> LOG_SHIFT & 1, head >> COPY_SHIFT
        if head & MOVED:
            difference, at = _varint(tokens, at)
            shift[log] += difference >> 1 ^ -(difference & 1)
        start = shift[log] + done & (1 << 64) - 1
        done += length
        yield log, start, start + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
