"""Latency of small messages on one connection: 1 KB of text there and back, one at a time, by turns."""

import socket
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from appliance.lab import echoing
from tests.bench import content
from tests.bench.contenders import BRANCHLINE, Contender, all_of_them
from tests.bench.report import Row, progress

MESSAGE = 1024
WARM_UP = 200
TIMEOUT = 10.0


def measure(quick: bool) -> Iterator[Row]:
    rounds, turns = (3, 500) if quick else (8, 1500)
    text = messages(content.releases()[0])
    latencies: dict[str, list[list[float]]] = defaultdict(list)
    spent: dict[str, float] = defaultdict(float)
    with all_of_them([]) as contenders:
        for number in range(rounds):
            progress(f"pingpong: round {number + 1} of {rounds}")
            for contender in contenders:
                cpu = contender.cpu_seconds()
                latencies[contender.name].append(play(contender, text, turns))
                spent[contender.name] += contender.cpu_seconds() - cpu
    for name, share in (("pingpong_p50", 0.5), ("pingpong_p99", 0.99)):
        for peer in (contender.name for contender in contenders[1:]):
            yield Row(
                name, _quantile(latencies[BRANCHLINE], share), "µs", peer, _quantile(latencies[peer], share)
            )
    per_message = 1e6 / (rounds * (turns + WARM_UP))
    for peer in (contender.name for contender in contenders[1:]):
        yield Row(
            "pingpong_cpu",
            spent[BRANCHLINE] * per_message,
            "CPU µs, both boxes",
            peer,
            spent[peer] * per_message,
        )


def messages(release: Path) -> list[bytes]:
    """A kilobyte each of real text, all different."""
    text = release.read_bytes()
    at = text.index(b"def ")
    return [text[start : start + MESSAGE] for start in range(at, at + 512 * MESSAGE, MESSAGE)]


def play(contender: Contender, messages: list[bytes], turns: int) -> list[float]:
    """Seconds of each round trip, after a warm-up."""
    buffer = memoryview(bytearray(MESSAGE))
    seconds = []
    with contender.lab.client.socket() as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(contender.address(echoing.PORT))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for turn in range(WARM_UP + turns):
            message = messages[turn % len(messages)]
            began = time.perf_counter()
            connection.sendall(message)
            missing = MESSAGE
            while missing:
                count = connection.recv_into(buffer, missing)
                if not count:
                    raise ConnectionError(f"{contender.name} ended the connection")
                missing -= count
            seconds.append(time.perf_counter() - began)
    return seconds[WARM_UP:]


def _quantile(rounds: list[list[float]], share: float) -> float:
    """Median of the rounds' quantiles, µs."""
    return statistics.median(sorted(one)[int(share * len(one))] for one in rounds) * 1e6
