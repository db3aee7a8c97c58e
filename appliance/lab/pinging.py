"""1 KB of text there and back on one connection, one at a time: `python -m appliance.lab.pinging '{"host": …}'`.

Runs in the client's namespace and prints one JSON object.
"""

import json
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from appliance.lab.host import Host
from appliance.lab.tools import LabError

MESSAGE = 1024
TIMEOUT = 60.0
BETWEEN_S = 0.02


@dataclass(frozen=True)
class Wish:
    """Plays `count` turns or `seconds`, whichever ends first, after `warm_up` turns that do not count."""

    host: str
    port: int
    count: int = 1_000_000
    seconds: float = 3600.0
    warm_up: int = 10
    between: float = 0.0


@dataclass(frozen=True)
class Played:
    """Seconds for a turn; `turns` is how many counted, `seconds` how long they took together."""

    turns: int
    seconds: float
    p50: float
    p99: float
    worst: float


def play(host: Host, wish: Wish) -> Played:
    """In a process of its own, so that nothing else of the lab's holds it up. LabError when the echo ends."""
    process = host.python("appliance.lab.pinging", json.dumps(asdict(wish)), stdout=subprocess.PIPE)
    answer, _ = process.communicate()
    if process.returncode:
        raise LabError("the ping-pong broke off; its error is above")
    return Played(**json.loads(answer))


def messages() -> list[bytes]:
    """A kilobyte each of real text, all different: this Python's own library."""
    text = b"".join(path.read_bytes() for path in sorted(Path(statistics.__file__).parent.glob("*.py"))[:60])
    return [text[at : at + MESSAGE] for at in range(0, len(text) - MESSAGE, MESSAGE)]


def _play(wish: Wish) -> Played:
    texts = messages()
    buffer = memoryview(bytearray(MESSAGE))
    turns = []
    with socket.create_connection((wish.host, wish.port), timeout=TIMEOUT) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.perf_counter() + wish.seconds
        for turn in range(wish.warm_up + wish.count):
            began = time.perf_counter()
            if began > end:
                break
            connection.sendall(texts[turn % len(texts)])
            missing = MESSAGE
            while missing:
                count = connection.recv_into(buffer, missing)
                if not count:
                    raise ConnectionError("the echo ended the connection")
                missing -= count
            turns.append(time.perf_counter() - began)
            if wish.between:
                time.sleep(wish.between)
    counted = sorted(turns[wish.warm_up :] or turns)
    at = len(counted)
    return Played(at, sum(counted), counted[at // 2], counted[min(at - 1, int(0.99 * at))], counted[-1])


if __name__ == "__main__":
    print(json.dumps(asdict(_play(Wish(**json.loads(sys.argv[1]))))))  # noqa: T201 - the answer
