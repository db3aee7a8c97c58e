"""A pcapng file (draft-ietf-opsawg-pcapng) of two kinds of records: IP packets, and lane frames. Pure: bytes out.

Frames are written as Wireshark's "exported PDU" (link type 252), which says by tags what it is: source and destination
of the lane's connection, the protocol's name and a sentence. Wireshark shows them in its columns without a dissector of
ours; the bytes of the frame follow, as docs/LANES.md describes them.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Final, Literal

from appliance.lanes.frames import Address

RAW_IP: Final = 101  # link type: begins with the IP header
EXPORTED_PDU: Final = 252

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER: Final = 0x1A2B3C4D
_NAME, _RESOLUTION, _APPLICATION = 2, 9, 4
_COMMENT, _FLAGS = 1, 2
_NANOSECONDS: Final = 9
_IN, _OUT = 1, 2

# linux: epan/exported_pdu.h of Wireshark. What it does not know it skips: the sentence is shown from 4.2 on.
_DISSECTOR, _SOURCE4, _TARGET4, _SOURCE6, _TARGET6 = 12, 20, 21, 22, 23
_PORT_TYPE, _SOURCE_PORT, _TARGET_PORT, _PROTOCOL, _INFORMATION = 24, 25, 26, 33, 36
_PORT_TYPE_TCP: Final = 2

Direction = Literal["in", "out"]


def head(application: str) -> bytes:
    """The beginning of a file."""
    fixed = struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1)
    return _block(_SECTION, fixed, _option(_APPLICATION, application.encode()))


def interface(name: str, link_type: int, longest: int) -> bytes:
    """Declares the next interface; they are numbered from 0."""
    options = _option(_NAME, name.encode()) + _option(_RESOLUTION, bytes([_NANOSECONDS]))
    return _block(_INTERFACE, struct.pack("<HHI", link_type, 0, longest), options)


def packet(
    number: int, time: float, data: bytes, length: int, direction: Direction, comment: str = ""
) -> bytes:
    """A record of interface `number`; `length` before anything was cut off, `time` in seconds since 1970."""
    nanoseconds = round(time * 1e9)
    fixed = struct.pack("<IIIII", number, nanoseconds >> 32, nanoseconds & 0xFFFFFFFF, len(data), length)
    flags = _option(_FLAGS, struct.pack("<I", _IN if direction == "in" else _OUT))
    return _block(
        _PACKET, fixed + _padded(data), flags + (_option(_COMMENT, comment.encode()) if comment else b"")
    )


def exported(source: Address, target: Address, sentence: str, frame: bytes) -> bytes:
    """A lane frame as the data of an EXPORTED_PDU record."""
    ends = [(ipaddress.ip_address(host.split("%")[0]), port) for host, port in (source, target)]
    four = ends[0][0].version == 4
    tags = (
        (_DISSECTOR, b"data"),
        (_SOURCE4 if four else _SOURCE6, ends[0][0].packed),
        (_TARGET4 if four else _TARGET6, ends[1][0].packed),
        (_PORT_TYPE, struct.pack("!I", _PORT_TYPE_TCP)),
        (_SOURCE_PORT, struct.pack("!I", ends[0][1])),
        (_TARGET_PORT, struct.pack("!I", ends[1][1])),
        (_PROTOCOL, b"Branchline"),
        (_INFORMATION, sentence.encode()),
    )
    written = (struct.pack("!HH", tag, len(_padded(value))) + _padded(value) for tag, value in tags)
    return b"".join((*written, bytes(4), frame))


def _block(kind: int, fixed: bytes, options: bytes) -> bytes:
    body = fixed + (options + bytes(4) if options else b"")
    total = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + total + body + total


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
