"""One round of checks: a target as JSON comes in on standard input, its results go out."""

import asyncio
import sys

import msgspec

from vmhost.health import directory, service
from vmhost.health.result import Result
from vmhost.health.target import Directory, Target


async def _round(target: Target) -> list[Result]:
    if isinstance(target, Directory):
        return await directory.check(target)
    return [await service.check(target)]


if __name__ == "__main__":
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Target)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_round(asked))))
