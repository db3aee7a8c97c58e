"""Pages while backups run: 30 objects of 10 to 100 KB over six connections, beside 8 downloads the same way."""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from appliance.lab import springing
from appliance.lab.profile import WanProfile
from appliance.lab.stress.contenders import Contender, branchline, haproxy
from appliance.lab.stress.figure import Figure

RATE = 1_250_000
PROFILE = WanProfile(rate=RATE, rtt=0.08, buffer=0.1)
OBJECTS = 30
SMALLEST, LARGEST = 10_000, 100_000
CONNECTIONS = 6
LOADS = 7
DOWNLOADS = 8
SETTLE_S = 8.0
SLOWER = 1.5


def measure(report: Callable[[str], None]) -> Iterator[Figure]:
    report("pages: Branchline")
    with branchline(PROFILE, line_rate=RATE) as made:
        idle, busy = _times(made)
    report("pages: haproxy")
    with haproxy(PROFILE) as made:
        _, peer = _times(made)
    yield Figure("pages_beside_bulk", busy, "s", SLOWER * idle, peer)


def _times(made: Contender) -> tuple[float, float]:
    """Seconds for a page, the median of several: on an idle link, and beside the downloads."""
    idle = statistics.median(_load(made) for _ in range(LOADS))
    bulk = springing.drain(made.lab.client, made.address(springing.PORT), DOWNLOADS)
    try:
        time.sleep(SETTLE_S)
        return idle, statistics.median(_load(made) for _ in range(LOADS))
    finally:
        springing.close(bulk)


def _load(made: Contender) -> float:
    """One page: each connection fetches its objects one after another."""
    sizes = random.Random(1).choices(range(SMALLEST, LARGEST), k=OBJECTS)
    address = made.address(springing.PORT)
    began = time.monotonic()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        shares = [sizes[at::CONNECTIONS] for at in range(CONNECTIONS)]
        list(pool.map(lambda share: springing.fetch(made.lab.client, address, share), shares))
    return time.monotonic() - began
