"""A click while backups run: 1 KB there and back beside 8 downloads and a UDP flood that nobody proxies."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

from appliance.lab import echoing, flooding, pinging, springing
from appliance.lab.profile import WanProfile
from appliance.lab.stress.contenders import Contender, branchline, haproxy
from appliance.lab.stress.figure import Figure

RATE = 1_250_000
RTT = 0.08
BUFFERS = (0.1, 0.5)
FLOOD = 1.2 * RATE
DOWNLOADS = 8
ADAPT_S = 10.0  # before turns count: TCP's slow starts are over, and an unknown rate has been found
COUNTED_S = 60.0  # some 550 turns: with fewer, the second worst would be the whole answer
KNOWN_S, UNKNOWN_S = 0.02, 0.08  # above the round trip
MS = 1000


def measure(report: Callable[[str], None]) -> Iterator[Figure]:
    """With the path's rate configured."""
    return _measure(report, "urgent_p99", KNOWN_S, RATE)


def measure_unknown_rate(report: Callable[[str], None]) -> Iterator[Figure]:
    """The boxes must find the rate themselves."""
    return _measure(report, "urgent_unknown_rate_p99", UNKNOWN_S, 0)


def _measure(report: Callable[[str], None], name: str, above: float, rate: int) -> Iterator[Figure]:
    for buffer in BUFFERS:
        profile = WanProfile(rate=RATE, rtt=RTT, buffer=buffer)
        what = f"{name}_{buffer * MS:.0f}ms_buffer"
        report(f"{what}: Branchline")
        ours = _under_load(branchline(profile, line_rate=rate))
        report(f"{what}: haproxy")
        peer = _under_load(haproxy(profile))
        yield Figure(what, MS * ours.p99, "ms", MS * (RTT + above), MS * peer.p99)


def _under_load(contender: AbstractContextManager[Contender]) -> pinging.Played:
    with ExitStack() as stack:
        made = stack.enter_context(contender)
        lab = made.lab
        loads = [
            springing.drain(lab.client, made.address(springing.PORT), DOWNLOADS),
            flooding.start(lab.server, lab.client.v4, FLOOD),
        ]
        for load in loads:
            stack.callback(springing.close, load)
        time.sleep(ADAPT_S)
        host, port = made.address(echoing.PORT)
        return pinging.play(lab.client, pinging.Wish(host, port, seconds=COUNTED_S, warm_up=5, between=0.02))
