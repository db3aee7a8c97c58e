"""Whether new flows are taken, and why not: the decision, without sockets, clocks or /proc.

Beyond a limit new flows pass through; those that are open go on. Between "no more" and "again" lies a distance, and a
second at least, so that the kernel's rules and the peers are not told of every flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.flows import reasons
from appliance.flows.buffers import GREED

HOLD_S = 1.0  # from "no more" to "again" at least
STEP = 16  # a sixteenth of a limit must be free before flows are taken again
RESERVE = 10  # of the room, the tenth that is kept for peers with less than an even share
UNREAD = 4  # of the memory, the quarter that end hosts may leave unread; at half of it the slowest would be broken off
BUSY = 0.95  # of the time at work: the loop has no more to give,
TURN_S = 0.1  # and whoever wants something waits so long for its turn;
OVERLOAD_S = 5.0  # both for so long.
CROWD, CROWD_S = 512, 1.0  # Or so many flows wait at a door all the time: more come than can be taken.
SLACK, LEAST_SLACK = 8, 2048  # flows over the limit that are taken, because they were on their way already:
# half a second of a busy morning, in the listener's queue and on a long way to the peer
FEW_SLACK = 256  # the same where descriptors are what is short


@dataclass(frozen=True)
class Load:
    """What the box carries at a moment."""

    flows: Mapping[str, int]
    """Open flows by peer."""
    unread: Mapping[str, int] = field(default_factory=dict)
    """Bytes of each peer that wait for end hosts to read them."""
    memory_left: float = 1.0
    """How far the machine is from being short of memory: below 0 it is, at 1 that is over."""
    busy: float = 0.0
    """Share of its time that the loop was at work, of late."""
    turn: float = 0.0
    """Seconds that it took to come round, of late."""
    waiting: int = 0
    """Intercepted flows that nobody has taken yet, at the door with the most of them."""


@dataclass(frozen=True)
class Room:
    """How much there is."""

    flows: int
    """That may be open before new ones pass."""
    utmost: int
    """That may be open with those that were on their way."""
    memory: int
    """Bytes for the buffers of all flows."""


def room(flows: int, descriptors: int, memory: int) -> Room:
    """What `flows` of the configuration and the process's free `descriptors` leave, a descriptor for each flow."""
    utmost = max(1, min(flows + max(LEAST_SLACK, flows // SLACK), descriptors))
    return Room(max(1, min(flows, utmost - min(FEW_SLACK, utmost // SLACK))), utmost, memory)


class _Limit:
    """One limit: reached at a time, over when its measure says so and it has been held long enough."""

    def __init__(self) -> None:
        self.reached = False
        self._since = 0.0

    def judge(self, now: float, *, beyond: bool, clear: bool) -> None:
        if beyond and not self.reached:
            self.reached, self._since = True, now
        elif clear and self.reached and now - self._since >= HOLD_S:
            self.reached = False


class _Lasting:
    """Since when something has been so without a break."""

    def __init__(self) -> None:
        self._since: float | None = None

    def seconds(self, now: float, so: bool) -> float:
        if not so:
            self._since = None
            return 0.0
        if self._since is None:
            self._since = now
        return now - self._since


class Admission:
    """One box's decision. Times are seconds of any steady clock."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.draining = False
        self._flows, self._memory, self._cpu = _Limit(), _Limit(), _Limit()
        self._shares: dict[str, _Limit] = {}
        self._unread: dict[str, _Limit] = {}
        self._overloaded, self._crowded, self._at_ease = _Lasting(), _Lasting(), _Lasting()

    def judge(self, now: float, load: Load) -> None:
        """Looks at everything."""
        total, most = sum(load.flows.values()), self.room.flows
        step = max(1, most // STEP)
        self._flows.judge(now, beyond=total >= most, clear=total <= most - step)
        self._judge_shares(now, load.flows, total, step)
        self._judge_unread(now, load)
        self._memory.judge(now, beyond=load.memory_left < 0, clear=load.memory_left >= 1)
        overloaded = load.busy >= BUSY and load.turn >= TURN_S
        at_ease = (load.busy < BUSY or load.turn < TURN_S / 2) and load.waiting < CROWD / STEP
        crowded = self._crowded.seconds(now, load.waiting >= CROWD)
        self._cpu.judge(
            now,
            beyond=self._overloaded.seconds(now, overloaded) >= OVERLOAD_S or crowded >= CROWD_S,
            clear=self._at_ease.seconds(now, at_ease) >= OVERLOAD_S,
        )

    def _judge_shares(self, now: float, flows: Mapping[str, int], total: int, step: int) -> None:
        """No peer takes what others need for an even share."""
        most = self.room.flows
        share = max(1, most // max(1, len(flows)))
        short = most - most // RESERVE
        self._shares = {peer: self._shares.get(peer) or _Limit() for peer in flows}
        for peer, limit in self._shares.items():
            own = flows[peer]
            limit.judge(
                now,
                beyond=own >= share and total >= short,
                clear=own < share or total <= short - step,
            )

    def _judge_unread(self, now: float, load: Load) -> None:
        """Whose end hosts do not read may hold so many times what is left of that part: others always find some."""
        most = self.room.memory // UNREAD
        left = max(0, most - sum(load.unread.values()))
        self._unread = {peer: self._unread.get(peer) or _Limit() for peer in load.flows}
        for peer, limit in self._unread.items():
            own = load.unread.get(peer, 0)
            limit.judge(now, beyond=own > GREED * left, clear=own <= left)

    def most(self, own: int) -> int:
        """Flows that may be open with one more of a peer that has `own`, which it has opened whatever it was told.

        One with more than its share may not fill the room that is kept for the others.
        """
        most, peers = self.room.flows, len(self._shares)
        if peers > 1 and own >= max(1, most // peers):
            return most - most // (2 * RESERVE)
        return self.room.utmost

    def reason(self, peer: str) -> int | None:
        """The number in `reasons` why the peer's new flows are not taken; None: they are."""
        if self.draining:
            return reasons.DRAINING
        unread = self._unread.get(peer)
        if self._memory.reached or (unread is not None and unread.reached):
            return reasons.MEMORY_LIMIT
        if self._cpu.reached:
            return reasons.CPU_LIMIT
        share = self._shares.get(peer)
        if self._flows.reached or (share is not None and share.reached):
            return reasons.FLOW_LIMIT
        return None


def peers_reason(said: int) -> int | None:
    """The reason here for what a peer has said: the number of its own reason, 0 if it takes flows."""
    if not said:
        return None
    return reasons.DRAINING if said == reasons.DRAINING else reasons.PEER_LIMIT
