"""Fifty branches on one centre: what each gets of it while some ask for much more, and the memory of a peer."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from functools import partial

from appliance.lab import telling
from appliance.lab.hub import Hub
from appliance.lab.network import Lab
from appliance.lab.stress.figure import Figure

COUNT, GREEDY = 50, 10
FLOWS, GREEDY_FLOWS = 4, 16
BEGIN_S, SETTLE_S, MEASURE_S = 30.0, 8.0, 40.0
LINE, BRANCH_LINE = 5_000_000, 2_500_000  # bytes/s: what the centre's carries, and each branch's
UNFAIR = 10.0  # per cent
MOST_IDLE_MB = 1.0


def measure(report: Callable[[str], None]) -> Iterator[Figure]:
    """The branches share a process of their own. Together they want 25 times what the centre's line carries."""
    yield from _measure(report, 1)


def measure_two_processes(report: Callable[[str], None]) -> Iterator[Figure]:
    """The same, with the centre's peers spread over two processes."""
    for figure in _measure(report, 2):
        yield dataclasses.replace(figure, name=f"two_processes_{figure.name}")


def _measure(report: Callable[[str], None], processes: int) -> Iterator[Figure]:
    with Lab() as lab:
        telling.start(lab.server)
        report(f"branches: {COUNT} come up")
        with Hub(lab, COUNT, rate=BRANCH_LINE, line=LINE, processes=processes) as hub:
            yield Figure("idle_peer_rss", hub.per_peer() / 2**20, "MB", MOST_IDLE_MB)
            budget = round(hub.budget() / 2**20)
            for number in range(COUNT):
                hub.open(number, GREEDY_FLOWS if number < GREEDY else FLOWS, (lab.server.v4, telling.PORT))
                begun = partial(_receives, hub, number)  # all at once were more than a box takes in
                hub.box.wait(begun, "a download begins", BEGIN_S)
            report(f"branches: all download, {GREEDY} of them with more connections")
            time.sleep(SETTLE_S)
            before = [branch["received"] for branch in hub.look()]
            time.sleep(MEASURE_S)
            got = [branch["received"] - was for branch, was in zip(hub.look(), before, strict=True)]
            taken = hub.resident() - hub.alone
            yield Figure("branches_rss", taken / 2**20, "MB", budget)
    mean = sum(got) / COUNT
    greedy, others = got[:GREEDY], got[GREEDY:]
    report(
        f"branches: {mean / MEASURE_S / 1e6:.2f} MB/s each, {min(got) / mean:.2f} to {max(got) / mean:.2f} of that"
    )
    worst = max(abs(one / mean - 1) for one in got)
    yield Figure("branch_share_spread", 100 * worst, "%", UNFAIR)
    advantage = (sum(greedy) / len(greedy)) / (sum(others) / len(others)) - 1
    yield Figure("greedy_branch_advantage", 100 * abs(advantage), "%", UNFAIR)


def _receives(hub: Hub, number: int) -> bool:
    return int(hub.look()[number]["received"]) > 0
