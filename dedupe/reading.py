"""Which part of which log to put into the index next. Pure."""

from dedupe.ranges import Ranges, total


class Reading:
    """What of several logs, by number, is still to be read for an index: the newest first, the logs in step."""

    def __init__(self) -> None:
        self._left: dict[int, list[tuple[int, int]]] = {}

    def want(self, log: int, ranges: Ranges) -> None:
        """Exactly these, whatever was wanted of the log before."""
        self._left[log] = list(ranges)

    def add(self, log: int, ranges: Ranges) -> None:
        """These as well; they are newer than all that is wanted of the log."""
        self._left.setdefault(log, []).extend(ranges)

    @property
    def left(self) -> int:
        """Bytes."""
        return sum(total(tuple(ranges)) for ranges in list(self._left.values()))

    def next(self, most: int) -> tuple[int, int, int] | None:
        """(log, start, end) of at most `most` bytes; it counts as read. None: nothing is left."""
        log = max(self._left, key=lambda log: total(tuple(self._left[log])), default=None)
        if log is None or not self._left[log]:
            return None
        low, high = self._left[log].pop()
        start = max(low, high - most)
        if start > low:
            self._left[log].append((low, start))
        return log, start, high
