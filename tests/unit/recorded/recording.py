"""A session of a release, frame by frame: how it is kept, and what its end hosts say in it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec

DIRECTORY = Path(__file__).parent
BOXES = ("dc", "branch")  # whose incarnations are 1 and 2


class Turn(NamedTuple):
    """One flow: bytes from the client and from the server."""

    up: bytes
    down: bytes


class Sent(NamedTuple):
    """`frame` without its length: kind and body. `role` is the lane's."""

    sender: str
    role: int
    frame: bytes


class Recording(msgspec.Struct):
    """`digest` is of what the end hosts say. A file has a JSON line for each item of `sent`, after one for all else."""

    release: str
    version: int
    digest: str
    sent: list[Sent] = []


def turns() -> list[Turn]:
    """A short answer to a long question, and a long answer to the same question: messages, blocks and references."""
    question = b"".join(b"line %d of a question that is long enough for blocks\n" % at for at in range(400))
    answer = b"".join(b"%d is the answer to another question\n" % (at * at) for at in range(300))
    return [Turn(question, b"yes\n"), Turn(question, answer)]


def digest() -> str:
    return hashlib.sha256(b"".join(turn.up + turn.down for turn in turns())).hexdigest()


def write(recording: Recording, path: Path) -> None:
    head = msgspec.json.encode(msgspec.structs.replace(recording, sent=[]))
    lines = [
        msgspec.json.encode((sent.sender, sent.role, base64.b64encode(sent.frame).decode()))
        for sent in recording.sent
    ]
    path.write_bytes(b"\n".join((head, *lines, b"")))


def read(path: Path) -> Recording:
    head, *lines = path.read_bytes().splitlines()
    recording = msgspec.json.decode(head, type=Recording)
    for line in lines:
        sender, role, frame = msgspec.json.decode(line, type=tuple[str, int, str])
        recording.sent.append(Sent(sender, role, base64.b64decode(frame)))
    return recording
