"""Goodput and processor time of downloads over an unlimited link, by turns."""

import socket
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from appliance.lab import LabError
from tests.bench import content
from tests.bench.contenders import BRANCHLINE, FILES, Contender, all_of_them
from tests.bench.report import Row, progress

PIECE = 1 << 20
TIMEOUT = 60.0


@dataclass(frozen=True)
class Download:
    """bytes that arrived, how long they took, CPU seconds of both boxes."""

    bytes: int
    seconds: float
    cpu_seconds: float


def download(contender: Contender, number: int) -> Download:
    """Fetch file `number` and let the kernel throw it away: nothing on the client's side takes time."""
    cpu = contender.cpu_seconds()
    sink = bytearray(PIECE)
    received = 0
    with contender.lab.client.socket() as connection:
        connection.settimeout(TIMEOUT)
        began = time.perf_counter()
        connection.connect(contender.address(FILES))
        connection.sendall(b"%d\n" % number)
        while count := connection.recv_into(sink, PIECE, socket.MSG_TRUNC):
            received += count
        seconds = time.perf_counter() - began
    time.sleep(0.05)  # what the boxes still do for this download belongs to it
    return Download(received, seconds, contender.cpu_seconds() - cpu)


def measure(quick: bool) -> Iterator[Row]:
    """Each round: every contender a file that none has seen, then every contender the same file again."""
    rounds = 3 if quick else 7
    old, _ = content.releases()
    samples: dict[tuple[str, str], list[Download]] = defaultdict(list)
    with content.unseen(old, rounds) as files, all_of_them(files) as contenders:
        for number, path in enumerate(files):
            progress(f"goodput: round {number + 1} of {rounds}")
            for state in ("cold", "warm", "warm"):
                for contender in contenders:
                    sample = download(contender, number)
                    if sample.bytes != path.stat().st_size:
                        raise LabError(
                            f"{contender.name}: {sample.bytes} bytes of {path.stat().st_size} arrived"
                        )
                    samples[contender.name, state].append(sample)
    peers = [contender.name for contender in contenders[1:]]
    for state in ("cold", "warm"):
        for name, unit, figure in (("goodput", "MB/s", _goodput), ("cpu", "CPU s/GB, both boxes", _cpu)):
            ours = figure(samples[BRANCHLINE, state])
            for peer in peers:
                yield Row(f"{name}_{state}", ours, unit, peer, figure(samples[peer, state]))


def _goodput(samples: list[Download]) -> float:
    return statistics.median(sample.bytes / sample.seconds for sample in samples) / 1e6


def _cpu(samples: list[Download]) -> float:
    return sum(sample.cpu_seconds for sample in samples) / sum(sample.bytes for sample in samples) * 1e9
