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
        self._words = (
            memoryview(ffi.buffer(self._ranges)).cast("B").cast("Q")
        )  # several times quicker than cffi
        self._shown: Ranges = ()
        self._log = log  # keeps the kernel's pointer alive
        target.log = log.ring.kernel
        target.range = self._ranges
        target.ranges = 0

    def show(self, ranges: Ranges) -> None:
        """Offer these ranges (at most MOST) to the kernel's next call."""
        if ranges == self._shown:
            return
        words = self._words
        for place, (start, end) in enumerate(ranges):
            words[2 * place], words[2 * place + 1] = start, end
        if len(ranges) != len(self._shown):
            self._target.ranges = len(ranges)
        self._shown = ranges
