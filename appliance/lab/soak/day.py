"""The whole soak: a lab with two WANs, a pair, six kinds of clients, events on the WAN, and what all of it came to."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from appliance.lab import rootless, switching
from appliance.lab.network import Lab
from appliance.lab.pair import EAGER, Pair, Side
from appliance.lab.profile import WanProfile
from appliance.lab.soak import gauges, verdict
from appliance.lab.soak.gauges import Reading
from appliance.lab.soak.git import Git
from appliance.lab.soak.mirror import Mirror
from appliance.lab.soak.shell import Shell
from appliance.lab.soak.sql import Sql
from appliance.lab.soak.wan_events import WanEvents
from appliance.lab.soak.web import Web
from appliance.lab.soak.windows import Windows
from appliance.lab.soak.worker import Client, Tally, Worker
from appliance.lab.stress.figure import Figure
from appliance.lab.tools import LabError
from appliance.lab.workspace import Workspace

PROFILE = WanProfile(rate=2_500_000, rtt=0.04)
# Small: its pages in memory count, so both of its logs have to be full before the first quarter is over.
CACHE = {"cache": "4MiB"}
KINDS: tuple[Callable[[Lab, Path, int], Client], ...] = (Web, Shell, Windows, Git, Mirror, Sql)
APART = 4  # documents: what is new for one client is known from another
PAUSE_S = 8.0
READ_S, EVENT_S, SAY_S = 10.0, 40.0, 30.0
END_S = 60.0  # for the last flows to end,
REST_S = 150.0  # and for the kernel to forget them
Report = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    tallies: list[Tally]
    figures: list[Figure]

    @property
    def ok(self) -> bool:
        return all(figure.ok for figure in self.figures)


def soak(seconds: float, report: Report) -> Outcome:
    """Takes so many seconds and up to five minutes more. LabError when something is missing or the boxes give up."""
    if not rootless.all_users():
        raise LabError("the servers of Samba, OpenSSH and PostgreSQL need real root; run it as root")
    with ExitStack() as stack:
        report("bringing up the lab, the servers and a Branchline on each side")
        lab = stack.enter_context(Lab(rate=PROFILE.rate, rtt=PROFILE.rtt, second=PROFILE))
        workspace = Workspace()
        stack.callback(workspace.close)
        pair = stack.enter_context(Pair(lab, EAGER, Side(peer=CACHE), Side(peer=CACHE)))
        switching.wait_ready(pair)  # lanes are descriptors, sockets and connections too
        before = gauges.read(pair)
        workers = [Worker(client, PAUSE_S, report) for client in _clients(lab, workspace.path)]
        events = WanEvents(pair)
        readings = list(_watch(pair, workers, events, seconds, report))
        report("letting the clients end")
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.join()
        tallies = [worker.tally for worker in workers]
        figures = [*_work(tallies, events), verdict.restarts(readings), *verdict.memory(readings)]
        figures += [*_flows(pair), *verdict.left_over(before, _rest(pair, before, report))]
        return Outcome(tallies, figures)


def _clients(lab: Lab, directory: Path) -> Iterator[Client]:
    directory.chmod(0o711)  # PostgreSQL's user passes through
    for at, kind in enumerate(KINDS):
        own = directory / str(at)
        own.mkdir()
        yield kind(lab, own, at * APART)


def _watch(
    pair: Pair, workers: list[Worker], events: WanEvents, seconds: float, report: Report
) -> Iterator[Reading]:
    """Lets things happen and reads the gauges."""
    for worker in workers:
        worker.start()
    began = time.monotonic()
    event_at, say_at = began + EVENT_S, began + SAY_S
    happened = "nothing yet"
    while (now := time.monotonic()) < began + seconds:
        reading = gauges.read(pair)
        yield reading
        if now >= event_at:
            happened = events.next()
            event_at += EVENT_S
        if now >= say_at:
            report(_progress(now - began, seconds, workers, reading, happened))
            say_at += SAY_S
        time.sleep(max(0.0, min(READ_S, began + seconds - time.monotonic())))


def _progress(so_far: float, seconds: float, workers: list[Worker], reading: Reading, happened: str) -> str:
    tallies = [worker.tally for worker in workers]
    rss = " / ".join(f"{value:.0f}" for name, value in reading.rss.items() if name.endswith("data"))
    return (
        f"{so_far / 60:.1f} of {seconds / 60:.0f} min: {sum(tally.turns for tally in tallies)} turns, "
        f"{sum(tally.bytes for tally in tallies) / 1e6:,.0f} MB compared, "
        f"{sum(tally.wrong + tally.broken for tally in tallies)} faults, data planes {rss} MiB, last: {happened}"
    )


def _work(tallies: list[Tally], events: WanEvents) -> Iterator[Figure]:
    yield Figure("compared", sum(tally.bytes for tally in tallies) / 1e6, "MB", 1, at_least=True)
    yield Figure("wrong", sum(tally.wrong for tally in tallies), "turns", 0)
    yield Figure("broken", sum(tally.broken for tally in tallies), "turns", 0)
    yield Figure("wan_events", events.count, "events", 0, at_least=True)


def _flows(pair: Pair) -> Iterator[Figure]:
    """Once the clients have ended, no box may have a flow left."""
    deadline = time.monotonic() + END_S
    for box in pair.boxes:
        while (
            left := int(box.call("status", plane="data")["totals"]["streams"])
        ) and time.monotonic() < deadline:
            time.sleep(0.2)
        yield Figure(f"flows_left {box.id}", left, "flows", 0)


def _rest(pair: Pair, before: Reading, report: Report) -> Reading:
    report("waiting for the kernel to forget the last connections")
    deadline = time.monotonic() + REST_S
    while not verdict.nothing_left(before, after := gauges.read(pair)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return after
