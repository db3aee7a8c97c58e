"""Several data processes that answer as one."""

import pytest

from appliance.control.merging import merged
from appliance.rpc import RpcError

GONE = RpcError("unavailable", "the data plane is not running")
NO = RpcError("refused", "address in use")


def status(name: str, age: float, flows: int) -> dict[str, object]:
    totals = {"lan_in": 10 * flows, "streams": flows}
    return {
        "pid": flows,
        "totals": totals,
        "heartbeat_age_s": age,
        "flows_intercepted": flows,
        "peers": [{"id": name}],
        "limits": {"flows": flows, "busy": age, "draining_until": None},
    }


def test_the_only_answer_is_the_answer() -> None:
    assert merged("anything", {}, ["as it is"]) == "as it is"
    with pytest.raises(RpcError) as caught:
        merged("reload", {}, [NO])
    assert caught.value.kind == "refused"


def test_a_status_is_of_all() -> None:
    answer = merged("status", {}, [status("a", 0.1, 2), status("b", 0.3, 3)])
    assert answer["totals"] == {"lan_in": 50, "streams": 5}
    assert answer["heartbeat_age_s"] == 0.3
    assert answer["flows_intercepted"] == 5
    assert [peer["id"] for peer in answer["peers"]] == ["a", "b"]
    assert answer["limits"] == {"flows": 5, "busy": 0.3, "draining_until": None}
    assert [process["pid"] for process in answer["processes"]] == [2, 3]


def test_who_asks_is_content_with_those_that_answer() -> None:
    assert merged("peers", {}, [GONE, [{"id": "b"}]]) == [{"id": "b"}]
    with pytest.raises(RpcError, match="not running"):
        merged("peers", {}, [GONE, GONE])


def test_pages_of_flows_keep_their_order() -> None:
    first = [{"peer": "a", "stream": 3}, {"peer": "c", "stream": 1}]
    second = [{"peer": "b", "stream": 2}, {"peer": "d", "stream": 0}]
    page = merged("flows", {"limit": 3}, [first, second])
    assert [flow["peer"] for flow in page] == ["a", "b", "c"]


def test_a_change_waits_for_nobody_who_is_not_there() -> None:
    assert merged("bypass", {}, [{}, GONE]) == {}


def test_a_change_that_one_refuses_is_told_from_one_that_all_refuse() -> None:
    for answers, kind in (([{}, NO], "partly"), ([NO, NO], "refused"), ([NO, GONE], "refused")):
        with pytest.raises(RpcError, match="address in use") as caught:
            merged("reload", {}, answers)
        assert caught.value.kind == kind


def test_a_new_key_waits_for_all() -> None:
    assert merged("keys", {}, [{"waiting": ["a"]}, {"waiting": ["b"]}]) == {"waiting": ["a", "b"]}
    with pytest.raises(RpcError, match="not running"):
        merged("keys", {}, [{"waiting": []}, GONE])
