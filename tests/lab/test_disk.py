"""The disk under one box's chunk cache fails, crawls or hangs: every flow stays exact, an event says what is wrong, and
when the disk is well again the cache comes back.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator

import pytest

from appliance.lab import Lab
from appliance.lab.pair import Box, Pair, Side
from tests.lab.bad_disk import BadDisk
from tests.lab.exchanging import serving
from tests.lab.test_cache import held, wait_read_back, wan_bytes

NOVEL = 12  # seed of flows that have not passed yet
TROUBLES = (
    (errno.ENOSPC, ("write", "create")),
    (errno.EROFS, ("write", "create")),
    (errno.EIO, ("fsync",)),
)
CACHE = Side(peer={"cache": "64MiB"})


@pytest.fixture
def warm(lab: Lab) -> Iterator[tuple[Pair, int]]:
    """Two boxes, stopped, whose caches know the flows; and what these cost on the WAN the first time."""
    with serving(lab), Pair(lab, branch=CACHE, dc=CACHE) as pair:
        cold = wan_bytes(lab)
        pair.stop()
        yield pair, cold


@pytest.fixture
def disk(warm: tuple[Pair, int]) -> Iterator[BadDisk]:
    """The branch's; everything runs on it when the test begins."""
    pair, _ = warm
    with BadDisk(pair.branch.directory / "state" / "cache") as disk:
        pair.start()
        wait_read_back(pair)
        try:
            yield disk
        finally:
            disk.heal()
            disk.answer()
            pair.stop()


def said(box: Box, kind: str, severity: str, text: str = "", since: float = 0.0) -> bool:
    return any(
        event["kind"] == kind and event["severity"] == severity and text in event["text"]
        for event in box.events(since=since)
    )


def wait_said(box: Box, kind: str, severity: str, text: str = "", since: float = 0.0) -> None:
    box.wait(lambda: said(box, kind, severity, text, since), f"it says {kind} ({severity}) {text}", 40)


def wait_restored(pair: Pair) -> None:
    """The branch uses its cache on disk again, in a new association."""
    wait_said(pair.branch, "cache.restored", "info")
    wait_said(pair.branch, "peer.connecting", "warning", "another chunk cache")
    pair.wait_up()
    wait_read_back(pair)


def test_a_disk_that_cannot_be_written(lab: Lab, warm: tuple[Pair, int], disk: BadDisk) -> None:
    pair, cold = warm
    for seed, (number, what) in enumerate(TROUBLES, NOVEL):
        disk.trouble(**dict.fromkeys(what, number))
        wan_bytes(lab, seed)
        wait_said(pair.branch, "cache.disk", "error", os.strerror(number))
        assert wan_bytes(lab) < cold / 10
        healed = time.time()
        disk.heal()
        wait_said(pair.branch, "cache.disk", "info", "works again", healed)


def test_a_disk_that_cannot_be_read(lab: Lab, warm: tuple[Pair, int], disk: BadDisk) -> None:
    pair, cold = warm
    disk.forget_pages()
    disk.trouble(read=errno.EIO)
    wan_bytes(lab)
    wait_said(pair.branch, "cache.dropped", "warning", "cannot be read")
    disk.heal()
    wan_bytes(lab)
    assert wan_bytes(lab) < cold / 10


def test_a_directory_that_vanishes(lab: Lab, warm: tuple[Pair, int], disk: BadDisk) -> None:
    pair, cold = warm
    (disk.place / "dc").rename(disk.place / "elsewhere")
    assert wan_bytes(lab) < cold / 10
    pair.stop()
    pair.start()
    assert wan_bytes(lab) > cold / 2
    assert wan_bytes(lab) < cold / 10


def test_a_start_without_a_disk(lab: Lab, warm: tuple[Pair, int], disk: BadDisk) -> None:
    pair, cold = warm
    pair.stop()
    disk.trouble(write=errno.EIO, create=errno.EIO)
    pair.start()
    wait_said(pair.branch, "cache.memory_only", "error", os.strerror(errno.EIO))
    assert wan_bytes(lab) > cold / 2
    assert wan_bytes(lab) < cold / 10  # the cache in memory
    disk.heal()
    wait_restored(pair)
    assert wan_bytes(lab) < cold / 10  # the one on disk


def test_a_disk_that_crawls(lab: Lab, warm: tuple[Pair, int], disk: BadDisk) -> None:
    pair, cold = warm
    disk.trouble(write_s=3.0, fsync_s=3.0)
    wan_bytes(lab, NOVEL)
    wait_said(pair.branch, "cache.disk", "error", "has not answered")
    assert wan_bytes(lab) < 2 * cold
    disk.heal()
    wait_said(pair.branch, "cache.disk", "info", "answers again")
    assert wan_bytes(lab) < cold / 5


def test_a_disk_that_hangs_while_it_is_written(lab: Lab, warm: tuple[Pair, int], disk: BadDisk) -> None:
    pair, cold = warm
    planes = pair.branch.pids("data")
    disk.hang()
    wan_bytes(lab, NOVEL)
    wait_said(pair.branch, "cache.disk", "error", "has not answered")
    wan_bytes(lab)
    wan_bytes(lab, NOVEL)
    assert pair.branch.pids("data") == planes
    disk.answer()
    wait_said(pair.branch, "cache.disk", "info", "answers again")
    assert wan_bytes(lab) < cold / 5


def test_a_disk_that_hangs_while_it_is_read(lab: Lab, warm: tuple[Pair, int], disk: BadDisk) -> None:
    """The codec waits for a page: the supervisor ends that, and the next data plane does without the disk."""
    pair, cold = warm
    disk.forget_pages()
    disk.hang()
    planes = pair.branch.pids("data")
    with pytest.raises(AssertionError):  # open flows are reset
        wan_bytes(lab)
    wait_said(pair.branch, "cache.memory_only", "error", "does not answer")
    assert pair.branch.pids("data") != planes
    pair.wait_up()
    assert wan_bytes(lab) > cold / 2
    assert wan_bytes(lab) < cold / 10
    disk.answer()
    wait_restored(pair)
    assert wan_bytes(lab) < cold / 5


def test_a_stop_beside_a_hung_disk(warm: tuple[Pair, int], disk: BadDisk) -> None:
    pair, _ = warm
    disk.hang()
    pair.branch.signal("data", signal.SIGTERM)
    pair.branch.wait(lambda: said(pair.branch, "data.stopped", "info"), "it stops in good order")
    assert held(pair.dc) > 0
