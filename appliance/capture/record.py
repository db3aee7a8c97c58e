"""One frame on its way from the data plane to whoever captures: a datagram. Pure."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import msgspec

from appliance.lanes.frames import Address

MOST_BYTES: Final = 100_000  # of a frame; one that is longer is cut, so that it fits into a datagram

_HEAD: Final = struct.Struct("!d?BIIH")


class FrameRecord(NamedTuple):
    """`time` in seconds since 1970; `sent` by this box; `kind` and the beginning of `body`, which had `length` bytes.

    `lost`: records that came too fast for their reader, so far. `local`, `remote`: the ends of the lane's connection.
    """

    time: float
    sent: bool
    kind: int
    lost: int
    length: int
    local: Address
    remote: Address
    body: bytes

    def encode(self) -> bytes:
        ends = msgspec.json.encode((self.local, self.remote))
        head = _HEAD.pack(self.time, self.sent, self.kind, self.lost, self.length, len(ends))
        return head + ends + self.body[:MOST_BYTES]

    @classmethod
    def decode(cls, data: bytes) -> FrameRecord:
        """ValueError when it is none."""
        try:
            time, sent, kind, lost, length, size = _HEAD.unpack_from(data)
            at = _HEAD.size + size
            local, remote = msgspec.json.decode(data[_HEAD.size : at], type=tuple[Address, Address])
        except (struct.error, msgspec.MsgspecError) as error:
            raise ValueError(f"no frame: {error}") from error
        return cls(time, sent, kind, lost, length, local, remote, data[at:])
