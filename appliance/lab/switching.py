"""What is done to the paths of a pair: find the one in use, kill a lane, wait until all stand by."""

import random
from typing import Any

from appliance.lab.host import Host
from appliance.lab.pair import LANE_PORT, Pair
from appliance.lab.tools import find
from appliance.lab.topology import WANS
from appliance.lab.wan import Wan

READY_S = 30.0


def paths(pair: Pair) -> list[dict[str, Any]]:
    """The branch's paths, as `branchline peers` has them."""
    found = pair.branch.call("peers")[0]["paths"]
    assert isinstance(found, list)
    return found


def used(pair: Pair) -> Wan:
    """The WAN that carries the sessions."""
    name = next(path["name"] for path in paths(pair) if path["used"])
    return pair.lab.wans[WANS.index(name)]


def ready(pair: Pair) -> bool:
    """Every path has both its lanes and answers."""
    peer = pair.branch.call("peers")[0]
    wanted = 2 * len(peer["paths"])
    return len(peer["lanes"]) == wanted and all(path["state"] in ("up", "held") for path in peer["paths"])


def wait_ready(pair: Pair) -> None:
    pair.branch.wait(lambda: ready(pair), "all its paths are ready", READY_S)


def kill_a_lane(branch: Host, chance: random.Random) -> bool:
    """Ends one lane's TCP connection in the kernel, as `ss -K` does; False when there is none."""
    listing = branch.run(
        [find("ss"), "-Htn", "state", "established", "dport", "=", f":{LANE_PORT}"],
        capture_output=True,
        text=True,
        check=True,
    )
    ports = [line.split()[2].rpartition(":")[2] for line in listing.stdout.splitlines()]
    if not ports:
        return False
    words = ["-K", "dport", "=", f":{LANE_PORT}", "and", "sport", "=", f":{chance.choice(ports)}"]
    branch.run([find("ss"), *words], capture_output=True, check=True)
    return True
