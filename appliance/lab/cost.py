"""What something that the lab's client does costs: WAN bytes, seconds, processor time of the boxes."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from appliance.lab.network import Lab
from appliance.lab.pair import Pair
from appliance.lab.wan import Wan

QUIET = 1000  # bytes that stray acknowledgements may carry while a link counts as quiet,
IDLE_RATE = 12_000  # and bytes per second that idle lanes may


@dataclass(frozen=True)
class Cost:
    """wan_bytes: both directions. seconds: as the client saw it. cpu_*: seconds of everything in that box.

    optimised: whether the branch's box took at least one connection in hand.
    """

    wan_bytes: int
    seconds: float
    ok: bool
    cpu_branch_s: float
    cpu_dc_s: float
    optimised: bool


def settle(wan: Wan) -> int:
    """WAN bytes so far, taken when nothing of a transfer is under way any more (idle lanes go on talking).

    A round trip in which next to nothing crosses means that the last acknowledgements have arrived; a link
    that never becomes quiet is read after 3 s and ten round trips.
    """
    window = wan.profile.rtt + 4 * wan.profile.jitter + 0.03
    deadline = time.monotonic() + 3 + 10 * wan.profile.rtt
    before = wan.bytes().both
    while True:
        time.sleep(window)
        now = wan.bytes().both
        if now - before < QUIET + IDLE_RATE * window or time.monotonic() > deadline:
            return now
        before = now


def measure(lab: Lab, pair: Pair | None, action: Callable[[], bool]) -> Cost:
    """Do something, once the link is quiet, and say what it cost. action returns whether it went right."""
    flows = _intercepted(pair)
    before = settle(lab.wan)
    cpu = _cpu(pair)
    began = time.monotonic()
    ok = action()
    seconds = time.monotonic() - began
    after = settle(lab.wan)
    branch, dc = (now - was for now, was in zip(_cpu(pair), cpu, strict=True))
    return Cost(
        after - before, round(seconds, 4), ok, round(branch, 3), round(dc, 3), _intercepted(pair) > flows
    )


def _cpu(pair: Pair | None) -> tuple[float, float]:
    return (pair.branch.cpu_seconds(), pair.dc.cpu_seconds()) if pair else (0.0, 0.0)


def _intercepted(pair: Pair | None) -> int:
    return pair.branch.flows_intercepted() if pair else 0
