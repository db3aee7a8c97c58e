"""When new flows are taken, and when not."""

import pytest

from appliance.admission import (
    BUSY,
    CROWD,
    CROWD_S,
    HOLD_S,
    OVERLOAD_S,
    TURN_S,
    UNREAD,
    Admission,
    Load,
    Room,
    peers_reason,
    room,
)
from appliance.flows import reasons
from appliance.gauges import memory_left

MEMORY = 1 << 20


def admission(flows: int = 100) -> Admission:
    return Admission(Room(flows=flows, utmost=2 * flows, memory=MEMORY))


def test_at_the_limit_no_more_and_again_when_there_is_some_room() -> None:
    it = admission(flows=100)
    it.judge(0.0, Load({"dc": 99}))
    assert it.reason("dc") is None
    it.judge(1.0, Load({"dc": 100}))
    assert it.reason("dc") == reasons.FLOW_LIMIT
    it.judge(10.0, Load({"dc": 95}))
    assert it.reason("dc") == reasons.FLOW_LIMIT, "each flow that ends would open the door for one"
    it.judge(11.0, Load({"dc": 94}))
    assert it.reason("dc") is None


def test_a_limit_holds_for_a_while() -> None:
    it = admission()
    it.judge(5.0, Load({"dc": 100}))
    it.judge(5.0 + HOLD_S / 2, Load({"dc": 0}))
    assert it.reason("dc") == reasons.FLOW_LIMIT
    it.judge(5.0 + HOLD_S, Load({"dc": 0}))
    assert it.reason("dc") is None


def test_the_last_tenth_is_for_peers_with_less_than_their_share() -> None:
    it = admission(flows=100)
    it.judge(0.0, Load({"greedy": 85, "modest": 4, "idle": 0}))
    assert it.reason("greedy") is None, "nobody needs it"
    it.judge(1.0, Load({"greedy": 86, "modest": 4, "idle": 0}))
    assert [it.reason(peer) for peer in ("greedy", "modest", "idle")] == [reasons.FLOW_LIMIT, None, None]
    it.judge(5.0, Load({"greedy": 86, "modest": 14, "idle": 0}))
    assert [it.reason(peer) for peer in ("greedy", "modest", "idle")] == [reasons.FLOW_LIMIT] * 3
    it.judge(9.0, Load({"greedy": 80, "modest": 4, "idle": 0}))
    assert it.reason("greedy") is None


def test_a_peer_that_goes_on_after_it_was_told_leaves_room_for_the_others() -> None:
    it = admission(flows=100)
    it.judge(0.0, Load({"greedy": 90, "modest": 4}))
    assert it.most(own=90) == 95
    assert it.most(own=4) == it.room.utmost
    it.judge(0.0, Load({"alone": 90}))
    assert it.most(own=90) == it.room.utmost


def test_a_peer_alone_gets_everything() -> None:
    it = admission(flows=100)
    it.judge(0.0, Load({"dc": 99}))
    assert it.reason("dc") is None


def test_short_of_memory() -> None:
    it = admission()
    it.judge(0.0, Load({}, memory_left=-0.1))
    assert it.reason("dc") == reasons.MEMORY_LIMIT
    it.judge(10.0, Load({}, memory_left=0.5))
    assert it.reason("dc") == reasons.MEMORY_LIMIT
    it.judge(20.0, Load({}, memory_left=2.0))
    assert it.reason("dc") is None


def test_a_peer_whose_end_hosts_do_not_read_is_the_only_one_to_feel_it() -> None:
    it = admission()
    flows, part = {"slow": 10, "quick": 10}, MEMORY // UNREAD
    it.judge(0.0, Load(flows, unread={"slow": part // 2, "quick": 100}))
    assert (it.reason("slow"), it.reason("quick")) == (None, None)
    for held in (part * 3 // 4, 2 * part):
        it.judge(10.0, Load(flows, unread={"slow": held}))
        assert (it.reason("slow"), it.reason("quick")) == (reasons.MEMORY_LIMIT, None)
    it.judge(20.0, Load(flows, unread={"slow": part * 3 // 5}))
    assert it.reason("slow") == reasons.MEMORY_LIMIT
    it.judge(30.0, Load(flows, unread={"slow": part // 3}))
    assert it.reason("slow") is None


def test_busy_is_not_overloaded_and_slow_is_not_either() -> None:
    it = admission()
    for now in range(60):
        busy = now % 2 == 0
        it.judge(float(now), Load({}, busy=1.0 if busy else BUSY / 2, turn=TURN_S / 2 if busy else 1.0))
        assert it.reason("dc") is None


def test_overloaded_for_seconds_and_at_ease_for_seconds() -> None:
    it = admission()
    overloaded = Load({}, busy=BUSY, turn=TURN_S)
    at_ease = Load({}, busy=0.5, turn=TURN_S)
    it.judge(0.0, overloaded)
    it.judge(OVERLOAD_S - 0.1, overloaded)
    assert it.reason("dc") is None
    it.judge(OVERLOAD_S, overloaded)
    assert it.reason("dc") == reasons.CPU_LIMIT
    it.judge(10.0, at_ease)
    it.judge(10.1, overloaded)
    it.judge(10.2, at_ease)
    it.judge(10.1 + OVERLOAD_S, at_ease)
    assert it.reason("dc") == reasons.CPU_LIMIT
    it.judge(10.2 + OVERLOAD_S, at_ease)
    assert it.reason("dc") is None


def test_more_flows_than_can_be_taken() -> None:
    it = admission()
    it.judge(0.0, Load({}, waiting=CROWD))
    it.judge(0.5, Load({}, waiting=CROWD - 1))
    it.judge(1.0, Load({}, waiting=CROWD))
    assert it.reason("dc") is None, "a crowd that is being let in"
    it.judge(1.0 + CROWD_S, Load({}, waiting=CROWD))
    assert it.reason("dc") == reasons.CPU_LIMIT
    it.judge(3.0, Load({}, waiting=CROWD // 2))
    it.judge(3.0 + OVERLOAD_S, Load({}, waiting=CROWD // 2))
    assert it.reason("dc") == reasons.CPU_LIMIT
    it.judge(10.0, Load({}, waiting=0))
    it.judge(10.0 + OVERLOAD_S, Load({}, waiting=0))
    assert it.reason("dc") is None


def test_a_drain_outranks_everything() -> None:
    it = admission(flows=1)
    it.judge(0.0, Load({"dc": 5}, memory_left=-1.0))
    it.draining = True
    assert it.reason("dc") == reasons.DRAINING


def test_what_a_peer_says_of_itself() -> None:
    assert peers_reason(0) is None
    assert peers_reason(reasons.DRAINING) == reasons.DRAINING
    assert peers_reason(reasons.MEMORY_LIMIT) == reasons.PEER_LIMIT
    assert peers_reason(200) == reasons.PEER_LIMIT, "a reason of a later release"


@pytest.mark.parametrize("flows", [1, 7, 20_000, 1_000_000])
@pytest.mark.parametrize("descriptors", [-5, 1, 500, 19_728, 1 << 20])
def test_room_is_within_descriptors_and_limits(flows: int, descriptors: int) -> None:
    it = room(flows, descriptors, MEMORY)
    assert 1 <= it.flows <= flows
    assert it.flows <= it.utmost <= max(1, descriptors)
    if descriptors > 1:
        assert it.utmost > it.flows or flows == it.flows == it.utmost == 1, "some were on their way"


def test_memory_left() -> None:
    def text(total: int, available: int) -> bytes:
        return b"MemTotal:   %d kB\nMemFree:  1 kB\nMemAvailable: %d kB\n" % (total >> 10, available >> 10)

    assert memory_left(text(2 << 30, 20 << 20)) < 0, "less than a fiftieth"
    assert 0 < memory_left(text(2 << 30, 60 << 20)) < 1
    assert memory_left(text(2 << 30, 100 << 20)) > 1
    assert memory_left(text(1 << 40, 600 << 20)) > 1, "of a large machine a fiftieth is plenty"
    assert memory_left(b"") == 1
