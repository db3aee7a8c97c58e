"""What is done to the WAN while flows are open: 50 transfers, 50 idle sessions, and one that notices every pause."""

import random
import statistics
import time
from collections.abc import Callable, Iterator

from appliance.lab import mirroring, switching
from appliance.lab.enduring import Sessions, Wish
from appliance.lab.pair import Pair
from appliance.lab.profile import WanProfile
from appliance.lab.stress.contenders import Contender, branchline
from appliance.lab.stress.figure import Figure

PROFILE = WanProfile(rate=12_500_000, rtt=0.08)
TRANSFERS, IDLE = 50, 50
SWITCHES, KILLS = 100, 1000
CUT_S = 10.0
LOADED_S = 1.0  # of traffic before anything happens, and between two events
WORST_GAP_S = 0.4 + PROFILE.rtt
Report = Callable[[str], None]


def switch(report: Report) -> Iterator[Figure]:
    """The WAN in use dies a hundred times; there is another."""
    with branchline(PROFILE, second=PROFILE) as made:
        pair, sessions = _begin(made)
        for number in range(SWITCHES):
            report(f"switch: {number + 1} of {SWITCHES}")
            switching.wait_ready(pair)
            time.sleep(LOADED_S)
            wan = switching.used(pair)
            wan.cut()
            pair.branch.wait(lambda wan=wan: switching.used(pair) is not wan, "it has switched")  # type: ignore[misc]
            wan.restore()
        endured = sessions.finish()
        longest = sorted(endured.gaps)[-SWITCHES:]
        yield Figure("switch_median_gap", statistics.median(longest), "s", WORST_GAP_S)
        yield Figure("switch_worst_gap", endured.worst_gap, "s", WORST_GAP_S)
        yield Figure("switch_broken", len(endured.broken), f"of {endured.sessions} sessions", 0)


def cut(report: Report) -> Iterator[Figure]:
    """The only WAN is away for ten seconds."""
    report("cut: 10 s without a WAN")
    with branchline(PROFILE) as made:
        _, sessions = _begin(made)
        made.lab.wan.cut()
        time.sleep(CUT_S)
        made.lab.wan.restore()
        time.sleep(LOADED_S)
        endured = sessions.finish()
        yield Figure("cut_broken", len(endured.broken), f"of {endured.sessions} sessions", 0)
        yield Figure("cut_resumed_after", endured.worst_gap - CUT_S, "s", 2.0)


def lane_kill(report: Report) -> Iterator[Figure]:
    """A lane's connection is killed a thousand times."""
    chance = random.Random(1)
    with branchline(PROFILE, second=PROFILE) as made:
        pair, sessions = _begin(made)
        for number in range(KILLS):
            if number % 100 == 0:
                report(f"lane_kill: {number} of {KILLS}")
            switching.wait_ready(pair)
            switching.kill_a_lane(made.lab.branch, chance)
        endured = sessions.finish()
        yield Figure("lane_kill_broken", len(endured.broken), f"of {endured.sessions} sessions", 0)


def _begin(made: Contender) -> tuple[Pair, Sessions]:
    assert made.pair is not None
    mirroring.start(made.lab.server)
    host, port = made.address(mirroring.PORT)
    sessions = Sessions(made.lab.client, Wish(host, port, TRANSFERS, IDLE))
    switching.wait_ready(made.pair)
    time.sleep(LOADED_S)
    return made.pair, sessions
