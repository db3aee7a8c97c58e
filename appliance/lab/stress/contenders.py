"""Who is measured: Branchline, and a haproxy pair with TLS, each in a lab of its own, behind one face."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from appliance.lab import echoing, springing
from appliance.lab.haproxy import HaproxyPair
from appliance.lab.network import Lab
from appliance.lab.pair import EAGER, Pair, Side
from appliance.lab.profile import WanProfile

PORTS = (echoing.PORT, springing.PORT)


@dataclass(frozen=True)
class Contender:
    """name: for progress. address: where the client connects to reach a port of the server."""

    name: str
    lab: Lab
    address: Callable[[int], tuple[str, int]]
    pair: Pair | None = None


@contextmanager
def branchline(
    profile: WanProfile, side: Side | None = None, line_rate: int = 0, second: WanProfile | None = None
) -> Iterator[Contender]:
    """Two Branchlines, up, before a server with an echo and a spring.

    line_rate: what their files call the rate of every path. second: another WAN between them.
    """
    with Lab(**asdict(profile), second=second) as lab:
        _serve(lab)
        with Pair(lab, EAGER, side, side, rate=line_rate) as pair:
            yield Contender("Branchline", lab, lambda port: (lab.server.v4, port), pair)


@contextmanager
def haproxy(profile: WanProfile) -> Iterator[Contender]:
    """Two haproxies with TLS between them, before the same server."""
    with Lab(**asdict(profile)) as lab:
        _serve(lab)
        with HaproxyPair(lab, PORTS) as pair:
            yield Contender("haproxy", lab, lambda port: pair.address(port, "tls"))


@contextmanager
def direct(profile: WanProfile) -> Iterator[Contender]:
    """Nothing between the client and the same server: plain TCP."""
    with Lab(**asdict(profile)) as lab:
        _serve(lab)
        yield Contender("plain TCP", lab, lambda port: (lab.server.v4, port))


def _serve(lab: Lab) -> None:
    echoing.start(lab.server)
    springing.start(lab.server)
