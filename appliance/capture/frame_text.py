"""A session frame in words, and the stream that it is about. Pure; never raises, whatever the frame is."""

from __future__ import annotations

import errno
import os

from appliance.lanes import frames
from appliance.lanes.frames import FIN, Kind, ProtocolError

_NUMBERS = {Kind.CREDIT: 2, Kind.RESET: 1, Kind.FAILED: 2}
_CODINGS = ("raw", "LZ4", "zstd")


def stream_of(kind: int, body: bytes) -> int | None:
    """The stream that a frame belongs to; None when it belongs to none, or does not parse."""
    try:
        if kind in {Kind.DATA, Kind.BLOCK}:
            return frames.read_data(body)[0]
        if kind == Kind.OPEN:
            return frames.read_open(body).stream
        if kind in _NUMBERS:
            return frames.read_numbers(body, _NUMBERS[Kind(kind)])[0]
    except ProtocolError:
        pass  # the lane will say so
    return None


def sentence(kind: int, body: bytes) -> str:
    """What a frame says, for a person: "DATA stream 4 offset 0 FIN, 312 bytes of zstd"."""
    try:
        return f"{Kind(kind).name} {_said(kind, body)}"
    except (ProtocolError, ValueError, IndexError) as error:
        return f"kind {kind}, {len(body)} bytes: {error}"


def _said(kind: int, body: bytes) -> str:
    if kind in {Kind.DATA, Kind.BLOCK}:
        stream, offset, flags, payload = frames.read_data(body)
        fin = " FIN" if flags & FIN else ""
        coding = "block"
        if kind == Kind.DATA:
            coding = _CODINGS[payload[0]] if payload and payload[0] < len(_CODINGS) else "message"
        return f"stream {stream} offset {offset}{fin}, {len(payload)} bytes of {coding}"
    if kind == Kind.OPEN:
        opened = frames.read_open(body)
        client, server = (f"{host} port {port}" for host, port in (opened.client, opened.server))
        return f"stream {opened.stream} from {client} to {server}"
    if kind not in _NUMBERS:
        return f"{len(body)} bytes"
    numbers = frames.read_numbers(body, _NUMBERS[Kind(kind)])
    if kind == Kind.CREDIT:
        return f"stream {numbers[0]} up to offset {numbers[1]}"
    if kind == Kind.FAILED:
        number = numbers[1]  # the peer's word: anything below 2**62
        if number not in errno.errorcode:
            return f"stream {numbers[0]}: error {number}"
        return f"stream {numbers[0]}: {errno.errorcode[number]}, {os.strerror(number)}"
    return f"stream {numbers[0]}"
