"""When a machine is called bad, when well, and how often it is asked."""

from vmhost.health.result import Result
from vmhost.health.standing import BOOTING_S, CONFIRM_S, Standing

WELL = (Result(name="ldap", ok=True, latency=1.0, evidence=""),)
DEGRADED = (Result(name="sysvol", ok=False, latency=1.0, evidence="", remedy="x"),)
FAILED = (Result(name="ldap", ok=False, latency=1.0, evidence="", remedy="x"),)


def test_a_guest_has_time_to_boot() -> None:
    standing = Standing(0.0, 30.0)
    assert (standing.state, standing.due) == ("starting", 0.0)
    assert not standing.told(FAILED, 10.0)
    assert not standing.told(FAILED, 20.0)
    assert (standing.state, standing.due) == ("starting", 20.0 + CONFIRM_S)
    assert standing.told(WELL, 25.0)
    assert (standing.state, standing.due) == ("healthy", 55.0)


def test_one_that_never_comes_up_is_said() -> None:
    standing = Standing(0.0, 30.0)
    standing.told(FAILED, 10.0)
    assert standing.told(FAILED, BOOTING_S)
    assert standing.state == "failed"


def test_one_bad_round_is_confirmed_and_one_good_is_believed() -> None:
    standing = Standing(0.0, 30.0)
    standing.told(WELL, 0.0)
    assert not standing.told(FAILED, 100.0)
    assert (standing.state, standing.due) == ("healthy", 100.0 + CONFIRM_S)
    assert standing.told(FAILED, 105.0)
    assert standing.state == "failed"
    assert standing.told(DEGRADED, 135.0)
    assert standing.told(WELL, 200.0)
    assert not standing.told(WELL, 230.0)


def test_who_stays_bad_is_asked_less_often() -> None:
    standing = Standing(0.0, 30.0)
    standing.told(WELL, 0.0)
    waits = []
    for at in range(6):
        standing.told(DEGRADED, 1000.0 * at)
        waits.append(standing.due - 1000.0 * at)
    assert waits == [CONFIRM_S, 30.0, 60.0, 120.0, 120.0, 120.0]
    standing.told(WELL, 9000.0)
    assert standing.due == 9030.0
