"""One packet in a hundred is lost: what a download still gets, with cubic at the end hosts."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from appliance.lab import springing
from appliance.lab.profile import WanProfile
from appliance.lab.stress.contenders import Contender, branchline, haproxy
from appliance.lab.stress.figure import Figure

PROFILE = WanProfile(rate=12_500_000, rtt=0.08)
LOSS = 0.01
BYTES = 120_000_000
PEER_BYTES = 6_000_000  # a haproxy pair on cubic takes half a minute for these
AT_LEAST = 0.9


def measure(report: Callable[[str], None]) -> Iterator[Figure]:
    report("loss: Branchline")
    clean, lossy = _goodputs(branchline(PROFILE), BYTES)
    report("loss: haproxy")
    _, peer = _goodputs(haproxy(PROFILE), PEER_BYTES)
    yield Figure("goodput_at_1%_loss", lossy, "MB/s", AT_LEAST * clean, peer, at_least=True)


def _goodputs(contender: AbstractContextManager[Contender], size: int) -> tuple[float, float]:
    """MB/s of one download without loss, and of one with it."""
    with contender as made:
        address = made.address(springing.PORT)
        clean = springing.fetch(made.lab.client, address, [size])
        made.lab.wan.set(loss=LOSS)
        lossy = springing.fetch(made.lab.client, address, [size])
        return size / clean / 1e6, size / lossy / 1e6
