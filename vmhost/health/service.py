"""Whether a plain service takes connections, or answers a web request."""

from __future__ import annotations

import asyncio
import os
import re
import time

from vmhost.health.result import Result
from vmhost.health.target import Http, Tcp

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r?\n)")
_LONGEST_LINE = 4096


def status(line: bytes) -> int | None:
    """Of an HTTP answer's first line; None if it is none."""
    found = _STATUS.match(line)
    return int(found[1]) if found else None


async def check(target: Tcp | Http) -> Result:
    """Connect; ask, if it is a web service."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(target.within):
            ok, evidence = await _ask(target)
    except TimeoutError:
        ok, evidence = False, f"no answer within {target.within:g} s"
    except OSError as error:
        ok, evidence = False, os.strerror(error.errno) if error.errno else str(error)
    where = f"[{target.address}]" if ":" in target.address else target.address
    asked = (
        f"GET http://{where}:{target.port}{target.path}"
        if isinstance(target, Http)
        else f"{where}:{target.port}"
    )
    return Result(
        name="http" if isinstance(target, Http) else "tcp",
        ok=ok,
        latency=(time.monotonic() - began) * 1000,
        evidence=f"{asked}: {evidence}",
        remedy="" if ok else "see whether the service runs in the guest and its port may pass",
    )


async def _ask(target: Tcp | Http) -> tuple[bool, str]:
    reader, writer = await asyncio.open_connection(target.address, target.port, limit=_LONGEST_LINE)
    try:
        if isinstance(target, Tcp):
            return True, "connected"
        host = f"[{target.address}]" if ":" in target.address else target.address
        writer.write(f"GET {target.path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        try:
            line = await reader.readline()
        except ValueError:  # longer than the limit
            return False, "an answer that is not HTTP"
        found = status(line)
        return (False, "an answer that is not HTTP") if found is None else (found < 400, f"status {found}")
    finally:
        writer.transport.abort()
