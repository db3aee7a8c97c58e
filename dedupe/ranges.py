"""Ascending, disjoint, non-touching ranges of log offsets, as immutable tuples of (start, end).

Immutable because one thread reads what another replaces. Bounded: past MOST ranges the shortest are
forgotten, which is always safe (less may be referenced).
"""

from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]

MOST = 64


def add(ranges: Ranges, start: int, end: int) -> Ranges:
    """The ranges with [start, end) joined at their end; start must not lie below the last range's end."""
    if start >= end:
        return ranges
    if ranges and ranges[-1][1] == start:
        return (*ranges[:-1], (ranges[-1][0], end))
    if ranges and ranges[-1][1] > start:
        raise ValueError(f"offset {start} is below the end {ranges[-1][1]}")
    return longest((*ranges, (start, end)))


def join(ranges: Ranges, start: int, end: int) -> Ranges:
    """The ranges and [start, end), wherever it lies."""
    if start >= end:
        return ranges
    before = [pair for pair in ranges if pair[1] < start]
    after = [pair for pair in ranges if pair[0] > end]
    touched = ranges[len(before) : len(ranges) - len(after)]
    if touched:
        start, end = min(start, touched[0][0]), max(end, touched[-1][1])
    return longest((*before, (start, end), *after))


def joined(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """The ranges of ascending, disjoint pairs, some of which touch."""
    made: list[tuple[int, int]] = []
    low = high = -1
    for start, end in pairs:
        if start == high:
            high = end
            continue
        if high >= 0:
            made.append((low, high))
        low, high = start, end
    if high >= 0:
        made.append((low, high))
    return longest(made)


def within(ranges: Ranges, low: int, high: int) -> Ranges:
    """What lies in [low, high)."""
    return tuple((max(start, low), min(end, high)) for start, end in ranges if start < high and end > low)


def drop(ranges: Ranges, start: int, end: int) -> Ranges:
    """The ranges without [start, end)."""
    return longest(
        piece
        for low, high in ranges
        for piece in ((low, min(high, start)), (max(low, end), high))
        if piece[0] < piece[1]
    )


def above(ranges: Ranges, low: int) -> Ranges:
    """What lies at or above `low`."""
    if not ranges or ranges[0][0] >= low:
        return ranges
    return tuple((max(start, low), end) for start, end in ranges if end > low)


def common(left: Ranges, right: Ranges) -> Ranges:
    """The intersection."""
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < len(left) and j < len(right):
        start, end = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if start < end:
            found.append((start, end))
        if left[i][1] <= right[j][1]:
            i += 1
        else:
            j += 1
    return longest(found)


def longest(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """At most MOST of them: those with the most bytes, and the last, which still grows."""
    kept = tuple(ranges)
    if len(kept) <= MOST:
        return kept
    by_length = sorted(kept[:-1], key=lambda pair: pair[1] - pair[0])
    return (*sorted(by_length[len(kept) - MOST :]), kept[-1])


def total(ranges: Ranges) -> int:
    """Bytes in them."""
    return sum(end - start for start, end in ranges)
