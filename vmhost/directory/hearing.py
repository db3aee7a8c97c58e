"""What a machine that we have built says of itself, on its virtio channel: a JSON object a line, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated

import msgspec

from vmhost.errors import VmError
from vmhost.printable import printable

_LONGEST = 2**16  # bytes of a line


class EndedError(VmError):
    """The machine does not run, or no longer."""


class Status(msgspec.Struct, frozen=True):
    """How far it is: `part` is a fraction, if that is known; `error` why it cannot go on by itself."""

    step: str
    text: str
    part: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None
    done: bool = False
    error: str | None = None


def parse(line: bytes) -> Status | None:
    """One line; None if it is none. The guest may be anybody's."""
    try:
        said = msgspec.json.decode(line, type=Status)
    except msgspec.MsgspecError:
        return None
    clean = {"step": printable(said.step), "text": printable(said.text)}
    return msgspec.structs.replace(said, **clean, error=None if said.error is None else printable(said.error))


async def hear(socket: str) -> AsyncGenerator[Status]:
    """All that is said on `socket` until the machine ends. EndedError if it cannot be heard."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket, limit=_LONGEST)
    except OSError as error:
        raise EndedError("failed", f"{socket}: the machine cannot be heard: {error.strerror}") from None
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
