"""20,000 flows that do nothing: the memory of a box that holds them."""

import contextlib
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from appliance.lab import echoing, namespace
from appliance.lab.host import Host
from appliance.lab.pair import Side
from appliance.lab.profile import WanProfile
from appliance.lab.stress.contenders import branchline
from appliance.lab.stress.figure import Figure
from appliance.lab.tools import LabError

FLOWS = 20_000
MOST_MB = 1024
SPARE_DESCRIPTORS = 1000


def measure(report: Callable[[str], None]) -> Iterator[Figure]:
    """Where a process may not open that many files, fewer flows, and their memory scaled."""
    flows = min(FLOWS, _descriptors() - SPARE_DESCRIPTORS)
    side = Side(limits={"flows": FLOWS + 1000})
    with branchline(WanProfile(), side) as made:
        assert made.pair is not None
        before = [_resident(box.host) for box in made.pair.boxes]
        report(f"many: opening {flows:,} flows")
        host, port = made.address(echoing.PORT)
        process = made.lab.client.python(
            "appliance.lab.keeping",
            host,
            str(port),
            str(flows),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        if process.stdout.readline().strip() != b"open":
            raise LabError("not all flows could be opened; the error is above")
        streams = int(made.pair.dc.call("status", plane="data")["totals"]["streams"])
        if streams < flows:
            raise LabError(f"{streams:,} of {flows:,} flows are optimised; the others pass through")
        after = [_resident(box.host) for box in made.pair.boxes]
        process.kill()
        process.wait()
    memory = max(was + (now - was) * FLOWS / flows for was, now in zip(before, after, strict=True))
    yield Figure("idle_flows_rss", memory / 2**20, "MB", MOST_MB)


def _descriptors() -> int:
    """Files that a process started from here may open; as many as the kernel lets us have for FLOWS."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(most, FLOWS + SPARE_DESCRIPTORS)))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def _resident(host: Host) -> int:
    """Bytes of RAM of everything that runs in the box."""
    pages = sum(
        int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in namespace.processes([host.netns])
    )
    return pages * 4096
