"""What a machine that we have built says of itself, on its virtio channel: a JSON object a line, again and again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator

import msgspec

from vmhost.errors import VmError

_LONGEST = 2**16  # bytes of a line
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]+")


class Status(msgspec.Struct, frozen=True):
    """How far it is: `part` is a fraction, if that is known; `error` why it cannot go on by itself."""

    step: str
    text: str
    part: float | None = None
    done: bool = False
    error: str | None = None


def parse(line: bytes) -> Status | None:
    """One line; None if it is none. The guest may be anybody's: nothing in it can move a terminal's cursor."""
    try:
        said = msgspec.json.decode(line, type=Status)
    except msgspec.MsgspecError:
        return None
    clean = {"step": _printable(said.step), "text": _printable(said.text)}
    return msgspec.structs.replace(
        said, **clean, error=None if said.error is None else _printable(said.error)
    )


async def hear(socket: str) -> AsyncGenerator[Status]:
    """All that is said on `socket` until the machine ends. VmError if it cannot be heard."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket, limit=_LONGEST)
    except OSError as error:
        raise VmError("failed", f"{socket}: the machine cannot be heard: {error.strerror}") from None
    try:
        while True:
            try:
                line = await reader.readline()
            except (ValueError, ConnectionError):  # a line without an end; QEMU is gone
                return
            if not line:
                return
            if (said := parse(line)) is not None:
                yield said
    finally:
        writer.close()


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text)[:1000]
