"""What is compared: Branchline, and haproxy pairs in a lab of their own, behind one face."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.lab import Lab, WanProfile, echoing
from appliance.lab.haproxy import HaproxyPair, Transport
from appliance.lab.pair import Pair
from appliance.lab.serving import PORTS
from appliance.lab.transfer import Served
from tests.bench.report import progress

FILES = PORTS["raw"]
BRANCHLINE, HAPROXY, HAPROXY_TLS = "Branchline", "haproxy pair", "haproxy pair with TLS"


@dataclass(frozen=True)
class Contender:
    """address: where the client connects to reach the server's port. cpu_seconds: of the boxes, so far."""

    name: str
    lab: Lab
    address: Callable[[int], tuple[str, int]]
    cpu_seconds: Callable[[], float]


@contextmanager
def branchline(files: Sequence[Path], profile: WanProfile | None = None) -> Iterator[Contender]:
    """Two Branchlines, up and cold, before a server with these files and an echo port."""
    with ExitStack() as stack:
        lab = stack.enter_context(_lab(files, profile))
        pair = stack.enter_context(Pair(lab))

        def cpu_seconds() -> float:
            return sum(box.cpu_seconds() for box in pair.boxes)

        yield Contender(BRANCHLINE, lab, lambda port: (lab.server.v4, port), cpu_seconds)


@contextmanager
def haproxies(files: Sequence[Path]) -> Iterator[list[Contender]]:
    """The pair with TLS and the plain one, in one lab (only one of them is asked at a time)."""
    with ExitStack() as stack:
        lab = stack.enter_context(_lab(files))
        pair = stack.enter_context(HaproxyPair(lab, (FILES, echoing.PORT)))

        def through(name: str, transport: Transport) -> Contender:
            return Contender(name, lab, lambda port: pair.address(port, transport), pair.cpu_seconds)

        yield [through(HAPROXY_TLS, "tls"), through(HAPROXY, "plain")]


@contextmanager
def all_of_them(files: Sequence[Path]) -> Iterator[list[Contender]]:
    """Branchline first, then its peers, on unlimited links."""
    progress("building two labs: Branchline, and haproxy with and without TLS")
    with branchline(files) as ours, haproxies(files) as others:
        yield [ours, *others]


@contextmanager
def _lab(files: Sequence[Path], profile: WanProfile | None = None) -> Iterator[Lab]:
    profile = profile or WanProfile()
    with Lab(rate=profile.rate, rtt=profile.rtt) as lab:
        Served(lab, files, "raw")
        echoing.start(lab.server)
        yield lab
