"""Running one of Debian's clients, bounded in time and in what it may say."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MOST_SAID = 2**18
"""Bytes that are read of each of its outputs: what a server sends goes through."""
PACKAGES = {
    "dig": "bind9-dnsutils",
    "kinit": "krb5-user",
    "ldapsearch": "ldap-utils",
    "smbclient": "smbclient",
    "unshare": "util-linux",
}


@dataclass(frozen=True)
class Said:
    """How a tool ended. status None: it was ended, being too slow or saying too much. seconds: how long it took."""

    status: int | None
    out: str
    err: str
    seconds: float

    @property
    def complaint(self) -> str:
        """Why it failed, in one line of its own words."""
        if self.status is None:
            return f"no answer within {self.seconds:.1f} s"
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return lines[0][:300] if lines else f"status {self.status}"


async def run(*command: str, within: float, env: Mapping[str, str] | None = None, typed: str = "") -> Said:
    """Run it for at most `within` seconds, with all of its children. `typed` is its standard input."""
    began = time.monotonic()
    quiet = {"LC_ALL": "C", "TZ": "UTC", "RES_OPTIONS": "timeout:1 attempts:1"}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **quiet, **(env or {})},
            start_new_session=True,
        )
    except FileNotFoundError:
        package = PACKAGES.get(command[0], command[0])
        return Said(127, "", f"{command[0]} is not installed; install the package {package}", 0.0)
    except OSError as error:  # no memory, no more processes
        return Said(127, "", f"{command[0]} cannot be run: {error.strerror}", 0.0)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(typed.encode())
    process.stdin.close()
    outputs = [bytearray(), bytearray()]
    ended = False

    def end() -> None:
        nonlocal ended
        ended = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    try:
        async with asyncio.timeout(within):
            await asyncio.gather(
                _read(process.stdout, outputs[0], end), _read(process.stderr, outputs[1], end), process.wait()
            )
    except TimeoutError:
        end()
    except asyncio.CancelledError:
        end()
        raise
    finally:
        # asyncio sees the end of a process only after that of its outputs.
        await asyncio.gather(process.stdout.read(), process.stderr.read(), process.wait())
    status = None if ended else process.returncode
    out, err = (bytes(output).decode(errors="replace") for output in outputs)
    return Said(status, out, err, time.monotonic() - began)


async def _read(stream: asyncio.StreamReader, into: bytearray, too_much: Callable[[], None]) -> None:
    while piece := await stream.read(MOST_SAID):
        into += piece[: MOST_SAID - len(into)]
        if len(into) == MOST_SAID:
            too_much()
