"""Flows through both boxes that check every byte: `exchange.py` at the server and at the client."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from appliance.lab import Lab

PORT = 5000
HOSTS = ("10.2.0.2", "fd02::2")
LARGEST = 1 << 20
_EXCHANGE = str(Path(__file__).with_name("exchange.py"))


@contextmanager
def serving(lab: Lab, port: int = PORT, complaints: IO[bytes] | None = None) -> Iterator[None]:
    """The other end of `exchange`; `complaints` takes its standard error."""
    process = lab.server.popen(
        [sys.executable, _EXCHANGE, "serve", "--port", str(port)], stdout=-1, stderr=complaints
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.kill()
        process.wait()


def call(
    flows: int, seed: int, largest: int = LARGEST, hosts: tuple[str, ...] = HOSTS, port: int = PORT
) -> list[str]:
    """The client's command: flows of up to `largest` bytes, the same for the same seed."""
    command = [sys.executable, _EXCHANGE, "call", "--port", str(port)]
    command += ["--flows", str(flows), "--seed", str(seed), "--largest", str(largest)]
    for host in hosts:
        command += ["--host", host]
    return command


def exchange(
    lab: Lab, flows: int, seed: int, largest: int = LARGEST, hosts: tuple[str, ...] = HOSTS, port: int = PORT
) -> dict[str, Any]:
    """What the client says once all flows have ended: `flows`, `exact`, `wrong`."""
    result = lab.client.run(call(flows, seed, largest, hosts, port), capture_output=True, timeout=100)
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer
