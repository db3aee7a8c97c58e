"""A directory's machine on its way: what is new in what it says, until it has nothing more to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from vmhost.directory.hearing import Status, hear
from vmhost.errors import VmError


async def follow(socket: str, patience: float) -> AsyncGenerator[Status]:
    """VmError if the machine ends, or says nothing new for `patience` seconds."""
    heard, last = hear(socket), None
    try:
        while True:
            try:
                async with asyncio.timeout(patience):
                    told = await anext(heard)
                    while told == last:
                        told = await anext(heard)
            except TimeoutError:
                said = last.text if last else "nothing at all"
                raise VmError(
                    "failed", f"for {patience / 60:.0f} min the machine has said nothing but: {said}"
                ) from None
            except StopAsyncIteration:
                raise VmError("failed", "the machine has ended while it joined") from None
            last = told
            yield told
    finally:
        await heard.aclose()
