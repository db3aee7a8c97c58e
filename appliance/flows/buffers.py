"""Read buffers that are used again: fresh pages cost more than the copy into them."""

from __future__ import annotations

from appliance.lanes.frames import MAX_BLOCK

SPARE = 64


class Buffers:
    """A pool of buffers of one block each; what is beyond `SPARE` goes back to the system."""

    def __init__(self) -> None:
        self._spare: list[bytearray] = []

    def take(self) -> bytearray:
        return self._spare.pop() if self._spare else bytearray(MAX_BLOCK)

    def give(self, buffer: bytearray) -> None:
        if len(self._spare) < SPARE:
            self._spare.append(buffer)
