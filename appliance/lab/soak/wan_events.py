"""What happens to the WAN during a soak: the path in use dies, all paths are away for a moment, a lane is killed."""

import random
import time

from appliance.lab import switching
from appliance.lab.pair import Pair

CUT_S = 2.0


class WanEvents:
    """The lab needs two WANs."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._chance = random.Random(1)
        self._turns = [self._switch, self._kill, self._cut]
        self.count = 0

    def next(self) -> str:
        """Does what comes next, and says what that was. LabError when the boxes do not get over the one before."""
        switching.wait_ready(self._pair)
        self.count += 1
        return self._turns[self.count % len(self._turns)]()

    def _switch(self) -> str:
        """What is only routed takes the first WAN: it is not away for long."""
        wan = switching.used(self._pair)
        wan.cut()
        try:
            self._pair.branch.wait(lambda: switching.used(self._pair) is not wan, "it has switched")
        finally:
            wan.restore()
        return "the path in use was cut"

    def _cut(self) -> str:
        for wan in self._pair.lab.wans:
            wan.cut()
        try:
            time.sleep(CUT_S)
        finally:
            for wan in self._pair.lab.wans:
                wan.restore()
        return f"all paths were cut for {CUT_S:.0f} s"

    def _kill(self) -> str:
        switching.kill_a_lane(self._pair.lab.branch, self._chance)
        return "a lane was killed"
