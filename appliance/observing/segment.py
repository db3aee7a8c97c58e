"""The headers of an IP packet that carries TCP."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

FIN, SYN, RST, ACK = 1, 2, 4, 16
_TCP: Final = 6
_PORTS_SEQUENCE: Final = struct.Struct("!HHI")


class Segment(NamedTuple):
    """`key` names this direction of the flow, `other` the opposite one: bytes of both addresses, then both ports."""

    key: bytes
    other: bytes
    source_port: int
    target_port: int
    sequence: int
    flags: int
    start: int
    """Of the payload, in the packet."""
    end: int


def segment(packet: memoryview) -> Segment | None:
    """None when it is not TCP or not whole."""
    if len(packet) < 40:
        return None
    version = packet[0] >> 4
    if version == 4:
        if packet[9] != _TCP or (packet[6] & 0x1F) or packet[7]:
            return None
        at = (packet[0] & 15) * 4
        end = (packet[2] << 8 | packet[3]) or len(packet)  # offloading leaves it 0 where it does not fit
        source, target = bytes(packet[12:16]), bytes(packet[16:20])
    elif version == 6:
        if packet[6] != _TCP:
            return None
        at = 40
        end = 40 + (packet[4] << 8 | packet[5]) if packet[4] or packet[5] else len(packet)
        source, target = bytes(packet[8:24]), bytes(packet[24:40])
    else:
        return None
    if at < 20 or at + 20 > len(packet):
        return None
    source_port, target_port, sequence = _PORTS_SEQUENCE.unpack_from(packet, at)
    ports = bytes(packet[at : at + 4])
    start = at + (packet[at + 12] >> 4) * 4
    return Segment(
        source + target + ports,
        target + source + ports[2:] + ports[:2],
        source_port,
        target_port,
        sequence,
        packet[at + 13],
        start,
        max(start, min(end, len(packet))),
    )


def total(packet: memoryview) -> int:
    """Bytes of an IP packet, headers included, also when only its headers are here."""
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        return packet[2] << 8 | packet[3] or len(packet)
    if len(packet) >= 40 and packet[0] >> 4 == 6:
        return 40 + (packet[4] << 8 | packet[5])
    return len(packet)
