"""A box gets a new key while transfers run: byte for byte, no flow dropped, the old key refused afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator

import pytest

from appliance import identity
from appliance.lab import Lab
from appliance.lab.pair import Box, Pair
from appliance.trust import Trust
from tests.lab.conftest import NewPair
from tests.lab.exchanging import HOSTS, call, serving
from tests.lab.plain_pair import until


@pytest.fixture
def server(lab: Lab) -> Iterator[None]:
    with serving(lab):
        yield


@pytest.fixture
def pair(lab: Lab, server: None, new_pair: NewPair) -> Pair:
    return new_pair(lab)


def transfer(lab: Lab) -> subprocess.Popen[bytes]:
    """Forty flows over a line that is slow enough to keep them busy."""
    return lab.client.popen(call(40, seed=0, hosts=HOSTS[:1]), stdout=subprocess.PIPE)


def kinds(box: Box) -> list[str]:
    return [event["kind"] for event in box.events()]


def other(pair: Pair, box: Box) -> Box:
    return pair.dc if box is pair.branch else pair.branch


def rotate(pair: Pair, box: Box) -> None:
    """A whole rotation of one box, as far as both boxes have it written down."""
    key = box.directory / "box.key"
    before, taken = key.read_bytes(), kinds(other(pair, box)).count("key.taken")
    box.call("key_rotate")
    assert until(lambda: key.read_bytes() != before, 30)
    assert until(lambda: kinds(other(pair, box)).count("key.taken") == taken + 2, 30)
    after = identity.load_identity(key)
    trust = Trust.load(other(pair, box).directory / "state")
    assert trust.successions[box.id].keys == (after.certificate,), "the old key is dropped"
    assert not identity.next_path(key).exists()


@pytest.mark.parametrize("name", ["branch", "dc"])
def test_a_new_key_drops_no_flow(lab: Lab, pair: Pair, name: str) -> None:
    lab.wan.set(rate=20e6 / 8, rtt=0.04)
    box = pair.branch if name == "branch" else pair.dc
    running = transfer(lab)
    assert until(lambda: pair.branch.call("peers")[0]["streams"] > 0, 20)
    rotate(pair, box)
    rotate(pair, box)
    out, _ = running.communicate(timeout=100)
    assert json.loads(out)["exact"] == 40
    assert all(box.call("peers")[0]["aborted"] == 0 for box in pair.boxes)
    lab.wan.set(rate=None, rtt=0.0)
    for each in pair.boxes:
        each.signal("data", signal.SIGKILL)
    pair.wait_up()


def test_a_crash_in_the_middle_is_made_good(lab: Lab, pair: Pair) -> None:
    """The peer is away when the key is made, and the box's own data plane dies before it is back."""
    key = pair.branch.directory / "box.key"
    before = key.read_bytes()
    pair.dc.stop()
    assert pair.branch.call("key_rotate")["waiting"] == ["dc"]
    pair.branch.signal("data", signal.SIGKILL)
    pair.branch.wait(lambda: pair.branch.status()["data"]["up"], "it is back")
    assert key.read_bytes() == before, "nobody has taken the new key yet"
    pair.dc.start()
    pair.wait_up()
    assert until(lambda: key.read_bytes() != before, 30)
    pair.wait_up()
