"""The pair of boxes that tests, transfers and the demonstration run on."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from appliance.lab import Lab, namespace
from appliance.lab.pair import Pair, Side
from appliance.lab.tools import LabError

NewPair = Callable[..., Pair]


def test_it_is_up_when_it_says_so_and_goes_in_good_order(lab: Lab, new_pair: NewPair) -> None:
    pair = new_pair(lab)
    for box in pair.boxes:
        assert box.peer_state() == "up"
        assert box.status()["data"]["up"]
        assert len(box.pids("supervisor")) == len(box.pids("control")) == len(box.pids("data")) == 1
        assert box.cpu_seconds() > 0
        assert "data.started" in pair.logs()[box.id]
    for box in pair.boxes:
        assert box.stop() == 0
        assert not list(namespace.processes([box.host.netns]))
        assert box.peer_state() == "unreachable"


def test_its_parts_can_be_killed_by_name(lab: Lab, new_pair: NewPair) -> None:
    pair = new_pair(lab)
    before = pair.branch.pids("data")
    assert pair.branch.signal("data", signal.SIGKILL) == before[0]
    pair.branch.wait(
        lambda: pair.branch.pids("data") not in ([], before) and pair.branch.peer_state() == "up",
        "a new data plane",
    )
    assert pair.branch.pids("supervisor")
    pair.branch.stop()
    with pytest.raises(LookupError, match="data"):
        pair.branch.signal("data", signal.SIGKILL)


def test_a_box_that_cannot_start_says_why(lab: Lab) -> None:
    pair = Pair(lab, branch=Side(limits={"flows": -1}))
    try:
        with pytest.raises(LabError, match=r"limits\.flows"):
            pair.start()
    finally:
        pair.close()
    assert not pair.directory.exists()
    assert not list(namespace.processes([lab.branch.netns, lab.dc.netns]))


def test_cpu_seconds_count_what_the_box_burns(lab: Lab) -> None:
    pair = Pair(lab)
    try:
        assert pair.branch.cpu_seconds() == 0
        lab.branch.popen(["sh", "-c", "while :; do :; done"])
        deadline = time.monotonic() + 20
        while pair.branch.cpu_seconds() < 0.2:
            assert time.monotonic() < deadline
            os.sched_yield()
        assert pair.dc.cpu_seconds() == 0
    finally:
        pair.close()
