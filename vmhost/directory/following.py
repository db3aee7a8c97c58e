"""A directory's machine on its way: what is new in what it says, until it has nothing more to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from vmhost.directory.hearing import EndedError, Status, hear
from vmhost.errors import VmError


async def follow(socket: str, patience: float) -> AsyncGenerator[Status]:
    """What is new. EndedError if the machine ends; VmError if it gets no percent further for `patience` seconds.

    One that tries the same thing again and again has always something new to say, and gets no further.
    """
    heard, clock = hear(socket), asyncio.get_running_loop().time
    last: Status | None = None
    furthest, deadline = 0, clock() + patience
    try:
        while True:
            async with asyncio.timeout_at(deadline):
                told = await anext(heard)
            percent = int(100 * (told.part or 0.0))
            if percent > furthest:
                furthest, deadline = percent, clock() + patience
            if told != last:
                last = told
                yield told
    except TimeoutError:
        said = last.text if last else "nothing at all"
        raise VmError(
            "failed", f"for {patience / 60:.0f} min the machine has got no further; it says: {said}"
        ) from None
    except StopAsyncIteration:
        raise EndedError("failed", "the machine has ended while it joined") from None
    finally:
        await heard.aclose()
