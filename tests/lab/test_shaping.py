"""The shaper of the WAN in a real kernel: put in place, changed, put back, taken away; and who goes first in it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from appliance.lab import Lab, flooding, springing
from appliance.lab.pair import Pair
from appliance.traffic import Class, minor
from tests.lab.plain_pair import until

RATE = 1_250_000
DEADLINE_S = 20.0


ONE_GOES = """
from appliance.control.qdiscs import Qdiscs
from appliance.control.shaping import HtbClass, Link
from appliance.intercept.specs import BoxSpec

qdiscs = Qdiscs()
branches = HtbClass(1, 0, 900_000, 900_000), HtbClass(2, 0, 500_000, 500_000, queue=20)
for classes in (branches, branches[:1]):
    qdiscs.apply((Link("wan0", classes),), BoxSpec(("lan0",)))
qdiscs.close()
"""


def classes(lab: Lab) -> str:
    return str(lab.dc.run(["tc", "class", "show", "dev", "wan0"], capture_output=True, text=True).stdout)


def sent(lab: Lab, traffic: Class) -> int:
    """Bytes that have left in a class of the data centre's only peer."""
    shown = lab.dc.run(["tc", "-s", "class", "show", "dev", "wan0"], capture_output=True, text=True).stdout
    ours = shown.partition(f"class htb 4c42:{minor(1, traffic):x} ")[2]
    return int(ours.partition("Sent ")[2].partition(" ")[0])


@pytest.fixture
def lab(new_lab: Callable[..., Lab]) -> Lab:
    return new_lab(rate=RATE, rtt=0.02)


def test_it_is_put_in_place_put_back_and_taken_away(lab: Lab) -> None:
    with Pair(lab, rate=RATE):
        assert until(lambda: "rate 9500Kbit" in classes(lab), DEADLINE_S), "the line is shaped to 95 %"
        lab.dc.run(["tc", "qdisc", "del", "dev", "wan0", "root"], check=True)
        lab.dc.run(["nft", "delete", "table", "inet", "branchline_shaping"], check=True)
        assert until(lambda: "rate 9500Kbit" in classes(lab), DEADLINE_S), "the shaper is put back"
    assert classes(lab) == ""
    tables = lab.dc.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
    assert "branchline_shaping" not in tables


def test_a_reload_changes_it(lab: Lab) -> None:
    with Pair(lab, rate=RATE) as pair:
        assert until(lambda: "rate 9500Kbit" in classes(lab), DEADLINE_S), "the line is shaped"
        text = pair.dc.config.read_text()
        pair.dc.config.write_text(text.replace(str(RATE), str(2 * RATE)))
        pair.dc.call("reload")
        assert until(lambda: "rate 19Mbit" in classes(lab), DEADLINE_S), "the new rate is in force"
        pair.dc.config.write_text(text.replace(str(RATE), "0"))
        pair.dc.call("reload")
        assert until(lambda: classes(lab) == "", DEADLINE_S), "without a rate nothing is shaped"


def test_one_class_of_several_goes(lab: Lab) -> None:
    """As when the rate of one branch is no longer held."""
    lab.dc.run([sys.executable, "-c", ONE_GOES], check=True)
    assert "rate 7200Kbit" in classes(lab)
    assert "rate 4Mbit" not in classes(lab)


def test_lanes_and_what_passes_through_have_their_classes(lab: Lab, request: pytest.FixtureRequest) -> None:
    springing.start(lab.server)
    with Pair(lab, rate=RATE):
        loads: list[Any] = [
            springing.drain(lab.client, (lab.server.v4, springing.PORT), 2),
            flooding.start(lab.server, lab.client.v4, 2 * RATE),
        ]
        for load in loads:
            request.addfinalizer(lambda load=load: springing.close(load))  # type: ignore[misc]
        assert until(lambda: sent(lab, Class.BULK) > 500_000, DEADLINE_S), "downloads are bulk"
        assert sent(lab, Class.EXPRESS) > 0
        assert until(lambda: sent(lab, Class.REST) > 50_000, DEADLINE_S), "nobody starves"

        def bulk_goes_first() -> bool:
            """In a stretch of time; while a busy machine gives downloads nothing to send, the flood has the line."""
            bulk, rest = sent(lab, Class.BULK), sent(lab, Class.REST)
            assert until(lambda: sent(lab, Class.BULK) > bulk + 500_000, DEADLINE_S), "downloads go on"
            return sent(lab, Class.REST) - rest < sent(lab, Class.BULK) - bulk

        assert until(bulk_goes_first, DEADLINE_S), "bulk goes before the flood"
