"""The chunk cache outlives the daemons: what has crossed once crosses as references after a restart and a crash."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from appliance.lab import Lab
from appliance.lab.cost import settle
from appliance.lab.pair import Box, Pair
from dedupe import open_cache
from tests.lab.exchanging import exchange, serving

SEED = 11
LARGEST = 4 << 20
HOSTS = ("10.2.0.2",)


@pytest.fixture
def pair(lab: Lab) -> Iterator[Pair]:
    with serving(lab), Pair(lab) as pair:
        yield pair


def wan_bytes(lab: Lab, seed: int = SEED) -> int:
    """What a set of flows, checked byte for byte, puts on the WAN; the same flows for the same seed."""
    before = settle(lab.wan)
    assert exchange(lab, 12, seed, LARGEST, HOSTS)["exact"] == 12
    return settle(lab.wan) - before  # the last uploads are still under way when their client is done


def held(box: Box) -> int:
    caches = box.call("cache", action="status")["caches"]
    return sum(log["held"] for cache in caches for log in cache["logs"])


def wait_read_back(pair: Pair) -> None:
    """All that is on the disks can be found: at a start the busy processor may leave some of it for later."""
    for box in pair.boxes:
        box.wait(lambda box=box: unread(box) == 0, "its cache is read back")  # type: ignore[misc]


def unread(box: Box) -> int | None:
    """None: not open yet."""
    (cache,) = box.call("cache", action="status")["caches"]
    left: int | None = cache.get("unread")
    return left


def test_a_restart_of_both_boxes_leaves_the_cache_warm(lab: Lab, pair: Pair) -> None:
    cold = wan_bytes(lab)
    pair.stop()
    pair.start()
    wait_read_back(pair)
    assert wan_bytes(lab) < cold / 10
    assert all(held(box) > cold / 2 for box in pair.boxes)
    answer = pair.dc.call("cache", action="status")
    (cache,), totals = answer["caches"], answer["totals"]
    assert cache["index"] == totals["index"] == totals["index_limit"] == 64 << 20
    assert 2 * (512 << 20) < cache["disk"] == totals["disk"] < totals["disk_limit"]


@pytest.mark.parametrize("name", ["branch", "dc"])
def test_a_killed_data_plane_finds_its_cache_again(lab: Lab, pair: Pair, name: str) -> None:
    cold = wan_bytes(lab)
    box = pair.branch if name == "branch" else pair.dc
    for saving in pair.boxes:
        saving.wait(lambda saving=saving: held(saving) > 0.9 * cold, "the cache is saved")  # type: ignore[misc]
    killed = box.signal("data", signal.SIGKILL)
    box.wait(lambda: box.pids("data") not in ([], [killed]), "its data plane runs again")
    pair.wait_up()
    wait_read_back(pair)
    assert wan_bytes(lab) < cold / 5


def test_clearing_makes_the_wan_cold(lab: Lab, pair: Pair) -> None:
    cold = wan_bytes(lab)
    assert wan_bytes(lab) < cold / 10
    removed = open_cache(pair.branch.directory / "state/cache", box="branch-1", peer="gone", capacity=1 << 20)
    removed.close()
    pair.branch.call("cache", action="clear")
    assert {one["peer"] for one in pair.branch.call("cache", action="status")["caches"]} == {"dc"}
    pair.wait_up()
    assert wan_bytes(lab) > cold / 2
    told = [event["kind"] for event in pair.branch.events() if event["kind"].startswith("cache.")]
    assert told[-2:] == ["cache.cleared", "cache.new"]
