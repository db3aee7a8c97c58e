"""Short connections: how many a second, what each costs the boxes, and what each puts on the WAN, by turns."""

import json
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from appliance.lab import LabError, echoing
from appliance.lab.cost import settle
from appliance.lab.opening import Outcome, Wish
from tests.bench.contenders import BRANCHLINE, Contender, all_of_them
from tests.bench.report import Row, progress

IN_FLIGHT = 64
PACE = 600.0  # opens per second at which WAN bytes are counted: slow enough that little shares a packet


@dataclass(frozen=True)
class Burst:
    """opened: connections per second. cpu_seconds, wan_bytes: of one connection; the latter without idle lanes'."""

    opened: float
    cpu_seconds: float
    wan_bytes: float


def measure(quick: bool) -> Iterator[Row]:
    rounds, count = (2, 2000) if quick else (5, 4000)
    free: dict[str, list[Burst]] = defaultdict(list)
    paced: dict[str, list[Burst]] = defaultdict(list)
    wish = Wish("", echoing.PORT, count, IN_FLIGHT)
    with all_of_them([]) as contenders:
        peers = [contender.name for contender in contenders[1:]]
        for number in range(rounds):
            progress(f"connections: round {number + 1} of {rounds}")
            for contender in contenders:
                free[contender.name].append(_burst(contender, wish))
            for contender in contenders:
                slowly = replace(wish, count=count // 2, rate=PACE)
                paced[contender.name].append(_burst(contender, slowly))
    for peer in peers:
        yield Row(
            "connections", _median(free, BRANCHLINE, "opened"), "1/s", peer, _median(free, peer, "opened")
        )
    for peer in peers:
        costs = (1e6 * _median(free, name, "cpu_seconds") for name in (BRANCHLINE, peer))
        yield Row("connections_cpu", next(costs), "CPU µs each, both boxes", peer, next(costs))
    for name, bursts in (("connections_wan", free), (f"connections_wan_at_{PACE:.0f}/s", paced)):
        for peer in peers:
            sizes = (_median(bursts, contender, "wan_bytes") for contender in (BRANCHLINE, peer))
            yield Row(name, next(sizes), "WAN bytes each", peer, next(sizes))


def _median(bursts: dict[str, list[Burst]], name: str, field: str) -> float:
    return float(statistics.median(getattr(burst, field) for burst in bursts[name]))


def _burst(contender: Contender, wish: Wish) -> Burst:
    lab = contender.lab
    began, before, cpu = time.monotonic(), settle(lab.wan), contender.cpu_seconds()
    outcome = _open(contender, wish)
    busy = settle(lab.wan) - before
    seconds = time.monotonic() - began
    cpu = contender.cpu_seconds() - cpu
    idle = _idle(contender) * seconds
    return Burst(
        outcome.connections / outcome.seconds, cpu / outcome.connections, (busy - idle) / outcome.connections
    )


def _idle(contender: Contender) -> float:
    """WAN bytes per second while nothing is asked of the boxes."""
    began, before = time.monotonic(), contender.lab.wan.bytes().both
    time.sleep(1.0)
    return (contender.lab.wan.bytes().both - before) / (time.monotonic() - began)


def _open(contender: Contender, wish: Wish) -> Outcome:
    host, port = contender.address(wish.port)
    text = json.dumps(asdict(replace(wish, host=host, port=port)))
    process = contender.lab.client.python("appliance.lab.opening", text, stdout=subprocess.PIPE)
    answer, _ = process.communicate()
    if process.returncode:
        raise LabError(f"{contender.name}: the load generator failed")
    outcome = Outcome(**json.loads(answer))
    if outcome.failed:
        raise LabError(f"{contender.name}: {outcome.failed} of {wish.count} connections failed")
    return outcome
