"""Hands the kernel what may be referenced of a log."""

from typing import Any

from dedupe._kernel import ffi
from dedupe.log import Log
from dedupe.ranges import MOST, Ranges


class View:
    """Fills one bl_view of a struct that lives longer than this object's users."""

    def __init__(self, target: Any, log: Log) -> None:
        self._target = target
        self._ranges = ffi.new("bl_range[]", MOST)
        self._shown: Ranges = ()
        self._log = log  # keeps the kernel's pointer alive
        target.log = log.ring.kernel
        target.range = self._ranges
        target.ranges = 0

    def show(self, ranges: Ranges) -> None:
        """Offer these ranges (at most MOST) to the kernel's next call."""
        if len(ranges) > 1 and ranges == self._shown:
            return
        for place, (start, end) in enumerate(ranges):
            entry = self._ranges[place]
            entry.start, entry.end = start, end
        self._target.ranges = len(ranges)
        self._shown = ranges
