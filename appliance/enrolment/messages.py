"""What is said on a lane that an invitation has opened: one ENROL each way, JSON (docs/LANES.md)."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from appliance.lanes import frames
from appliance.lanes.frames import FrameError, Kind

ASKED = "enrol.asked"
"""Kind of the event by which the data plane passes a request on to control."""

Message = TypeVar("Message", bound=msgspec.Struct)


class Request(msgspec.Struct, frozen=True):
    """The branch: its id, its certificate (base64), and its own prefixes if it has a configuration already."""

    box: str
    key: str
    prefixes: list[str] = []


class Answer(msgspec.Struct, frozen=True):
    """The centre: its id, the prefixes behind it, and those that the branch may say are its own."""

    box: str
    prefixes: list[str]
    granted: list[str]


def enrol(message: Request | Answer) -> bytes:
    """As a frame."""
    return frames.frame(Kind.ENROL, msgspec.json.encode(message))


def read(body: bytes, kind: type[Message]) -> Message:
    """The body of an ENROL; FrameError if it is something else."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"ENROL cannot be read: {error}") from error
