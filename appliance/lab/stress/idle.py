"""An idle link: what one ping-pong takes, how many go in a second, and what each puts on the WAN."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

from appliance.lab import echoing, pinging
from appliance.lab.cost import settle
from appliance.lab.profile import WanProfile
from appliance.lab.stress.contenders import Contender, branchline, direct, haproxy
from appliance.lab.stress.figure import Figure

ROUNDS, TURNS = 7, 1500
COUNTED_TURNS = 300
FAR = WanProfile(rate=1_250_000, rtt=0.02)
SLOWER, RATE = 1.5, 0.7
IDLE_S = 3.0


def measure(report: Callable[[str], None]) -> Iterator[Figure]:
    p50: dict[str, list[float]] = defaultdict(list)
    rate: dict[str, list[float]] = defaultdict(list)
    with branchline(WanProfile()) as ours, haproxy(WanProfile()) as peer:
        for number in range(ROUNDS):
            report(f"idle: round {number + 1} of {ROUNDS}")
            for made in (ours, peer):
                host, port = made.address(echoing.PORT)
                played = pinging.play(made.lab.client, pinging.Wish(host, port, TURNS, warm_up=200))
                p50[made.name].append(1e6 * played.p50)
                rate[made.name].append(played.turns / played.seconds)
        latency, transactions = (
            {name: statistics.median(rounds) for name, rounds in figures.items()} for figures in (p50, rate)
        )
        yield Figure(
            "pingpong_p50", latency[ours.name], "µs", SLOWER * latency[peer.name], latency[peer.name]
        )
        yield Figure(
            "transactions",
            transactions[ours.name],
            "1/s",
            RATE * transactions[peer.name],
            transactions[peer.name],
            at_least=True,
        )
    report("idle: WAN bytes of a transaction")
    sizes = []
    for contender in (branchline, haproxy, direct):
        with contender(FAR) as made:
            sizes.append(_wan_bytes(made))
    yield Figure("transaction_wan_bytes", sizes[0], "bytes", sizes[2], sizes[1])


def idle_rate(made: Contender) -> float:
    """WAN bytes per second while nobody asks for anything."""
    began, before = time.monotonic(), made.lab.wan.bytes().both
    time.sleep(IDLE_S)
    return (made.lab.wan.bytes().both - before) / (time.monotonic() - began)


def _wan_bytes(made: Contender) -> float:
    """Of one transaction in a conversation, both directions, less what the idle link carries anyway."""
    host, port = made.address(echoing.PORT)
    idle = idle_rate(made)
    began, before = time.monotonic(), settle(made.lab.wan)
    pinging.play(made.lab.client, pinging.Wish(host, port, COUNTED_TURNS, warm_up=0))
    busy = settle(made.lab.wan) - before
    return (busy - idle * (time.monotonic() - began)) / COUNTED_TURNS
