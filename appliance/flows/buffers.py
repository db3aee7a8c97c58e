"""The data plane's buffers: read buffers that are used again, and the count of what end hosts have not read."""

from __future__ import annotations

from appliance.lanes.frames import MAX_BLOCK

SPARE = 64


class Buffers:
    """A pool of buffers of one block each, because fresh pages cost more than the copy into them.

    What is beyond `SPARE` goes back to the system. `unread` counts the bytes from peers that wait for an end host,
    over all flows.
    """

    def __init__(self) -> None:
        self._spare: list[bytearray] = []
        self.unread = 0

    def take(self) -> bytearray:
        return self._spare.pop() if self._spare else bytearray(MAX_BLOCK)

    def give(self, buffer: bytearray) -> None:
        if len(self._spare) < SPARE:
            self._spare.append(buffer)
