"""What a machine that runs wild takes from the data plane: `python -m tests.bench.guests [--pairs 9] [--json]`.

A pair of Branchlines in the lab, unlimited link, and an emulated guest on the same processors. By turns
the guest is paused, and keeps every processor of it busy while it writes to its disk as fast as it can. Each time what
both boxes hold is downloaded again and again, and then a kilobyte goes there and back on one connection. As root, after
`.ci/setup demo vm guest`.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from appliance.lab import LabError
from tests.bench import content
from tests.bench.contenders import Contender, branchline
from tests.bench.goodput import download
from tests.bench.pingpong import messages, play
from tests.bench.report import progress
from tests.vm import namespaces
from tests.vm.box import BRIDGE, SOCKET, VmBox
from tests.vm.guest import kernel, make_disk

CACHE = Path(__file__).parents[2] / ".cache" / "vm"
NAME = "wild"
GOODPUT, P99 = 0.8, 1.5  # burning / paused: at least, at most
TURNS = 1500


@dataclass(frozen=True)
class Look:
    """One stretch: bytes/s of downloads, seconds of the slowest hundredth of round trips, processors the guest had."""

    goodput: float
    p99: float
    guest: float


def measure(pairs: int, downloads: int) -> Iterator[tuple[Look, Look]]:
    """Paused and burning, `pairs` times; which is first changes."""
    old, _ = content.substitute(content.CACHE)
    text = messages(old)
    with _wild_guest() as domain, branchline([old]) as pair:
        _look(pair, downloads, text, domain)  # the caches fill
        domain.suspend()
        for number in range(pairs):
            progress(f"guests: pair {number + 1} of {pairs}")
            looks = {}
            for burns in (False, True) if number % 2 else (True, False):
                if burns:
                    domain.resume()
                looks[burns] = _look(pair, downloads, text, domain)
                if burns:
                    domain.suspend()  # returns when what it was writing is written
            yield looks[False], looks[True]


def _look(pair: Contender, downloads: int, text: list[bytes], domain: Any) -> Look:
    began, used = time.monotonic(), _processor_time(domain)
    samples = [download(pair, 0) for _ in range(downloads)]
    trips = sorted(play(pair, text, TURNS))
    return Look(
        sum(sample.bytes for sample in samples) / sum(sample.seconds for sample in samples),
        trips[int(0.99 * len(trips))],
        (_processor_time(domain) - used) / (time.monotonic() - began),
    )


def _processor_time(domain: Any) -> float:
    """Seconds that QEMU has had so far."""
    *_, nanoseconds = domain.info()
    return float(nanoseconds) / 1e9


@contextmanager
def _wild_guest() -> Iterator[Any]:
    """A guest that burns, made and looked after as any; libvirt's handle of it."""
    import libvirt

    namespaces.furnish((BRIDGE, "wan0"))
    with tempfile.TemporaryDirectory(prefix="bl-guests-") as name:
        directory = Path(name)
        (directory / "guest").mkdir()
        image = make_disk(kernel(CACHE), directory / "guest")
        box = VmBox(directory)
        box.start_libvirtd()
        box.start_control()
        recipe = box.recipe(NAME, image, vcpus=os.cpu_count() or 1, empty="256MiB")
        progress(box.vm("create", recipe).strip())
        box.hears(NAME, "guest ready")
        box.hears(NAME, "guest burns", "burn\n")
        progress(box.vm("host"))
        yield libvirt.open(f"qemu+unix:///system?socket={SOCKET}").lookupByName(NAME)
        box.vm("kill", NAME)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=9, help="of stretches (9)")
    parser.add_argument("--downloads", type=int, default=8, help="in each stretch (8)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    if not namespaces.inside():
        namespaces.enter(namespaces.again())
    goodput, p99 = [], []
    try:
        for paused, burning in measure(options.pairs, options.downloads):
            goodput.append(burning.goodput / paused.goodput)
            p99.append(burning.p99 / paused.p99)
            if options.json:
                print(json.dumps({"paused": asdict(paused), "burning": asdict(burning)}), flush=True)
            else:
                print(
                    f"goodput {paused.goodput / 1e6:.0f} → {burning.goodput / 1e6:.0f} MB/s ({goodput[-1]:.2f} ×), "
                    f"p99 {paused.p99 * 1e6:.0f} → {burning.p99 * 1e6:.0f} µs ({p99[-1]:.2f} ×), "
                    f"the guest had {burning.guest:.2f} processors",
                    flush=True,
                )
    except LabError as error:
        progress(f"bench: {error}")
        return 1
    medians = statistics.median(goodput), statistics.median(p99)
    print(
        json.dumps({"goodput": medians[0], "p99": medians[1]})
        if options.json
        else f"median of {len(goodput)} ratios: goodput {medians[0]:.2f} × (at least {GOODPUT}), "
        f"p99 {medians[1]:.2f} × (at most {P99})"
    )
    return 0 if medians[0] >= GOODPUT and medians[1] <= P99 else 1


if __name__ == "__main__":
    sys.exit(main())
