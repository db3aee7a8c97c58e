"""Short connections: how many a second, and what each puts on the WAN, in a crowd and alone."""

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

from appliance.lab import echoing
from appliance.lab.cost import settle
from appliance.lab.opening import Outcome, Wish
from appliance.lab.profile import WanProfile
from appliance.lab.stress.contenders import Contender, branchline, direct, haproxy
from appliance.lab.stress.figure import Figure
from appliance.lab.stress.idle import idle_rate
from appliance.lab.tools import LabError

ROUNDS, COUNT, IN_FLIGHT = 3, 4000, 64
CROWD, CROWD_COUNT = 550.0, 4000
LONE, LONE_COUNT = 4.0, 40
NO_SLOWER = 0.8
MOST_BYTES = 100.0


def measure(report: Callable[[str], None]) -> Iterator[Figure]:
    fast: dict[str, list[float]] = {}
    crowd, lone = {}, {}
    with branchline(WanProfile()) as ours, haproxy(WanProfile()) as peer, direct(WanProfile()) as plain:
        for number in range(ROUNDS):
            report(f"openings: round {number + 1} of {ROUNDS}")
            for made in (ours, peer):
                outcome = _open(made, COUNT)
                fast.setdefault(made.name, []).append(outcome.connections / outcome.seconds)
        for made in (ours, peer, plain):
            report(f"openings: WAN bytes, {made.name}")
            crowd[made.name] = _wan_bytes(made, CROWD_COUNT, CROWD)
            lone[made.name] = _wan_bytes(made, LONE_COUNT, LONE)
    median = {name: statistics.median(rounds) for name, rounds in fast.items()}
    most = median[peer.name]
    yield Figure("openings", median[ours.name], "1/s", NO_SLOWER * most, most, at_least=True)
    yield Figure("opening_wan_bytes_crowd", crowd[ours.name], "bytes", MOST_BYTES, crowd[peer.name])
    yield Figure("opening_wan_bytes_lone", lone[ours.name], "bytes", lone[plain.name], lone[peer.name])


def _wan_bytes(made: Contender, count: int, rate: float) -> float:
    """Of one connection, both directions, less what the idle link carries anyway."""
    idle = idle_rate(made)
    began, before = time.monotonic(), settle(made.lab.wan)
    outcome = _open(made, count, rate)
    busy = settle(made.lab.wan) - before
    return (busy - idle * (time.monotonic() - began)) / outcome.connections


def _open(made: Contender, count: int, rate: float = 0.0) -> Outcome:
    host, port = made.address(echoing.PORT)
    text = json.dumps(asdict(Wish(host, port, count, IN_FLIGHT, rate)))
    process = made.lab.client.python("appliance.lab.opening", text, stdout=subprocess.PIPE)
    answer, _ = process.communicate()
    if process.returncode:
        raise LabError("the load generator failed; its error is above")
    outcome = Outcome(**json.loads(answer))
    if outcome.failed:
        raise LabError(f"{made.name}: {outcome.failed} of {count} connections failed")
    return outcome
