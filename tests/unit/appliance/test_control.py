"""The control plane: it answers whatever state the data plane is in, and changes all or nothing."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.config import load
from appliance.config.accepted import accepted_path, write_accepted
from appliance.control.daemon import Control
from appliance.events import Event, encode
from appliance.notify import Notifier
from appliance.rpc import Client, Params, RpcError
from tests.unit.appliance.control_box import ControlBox, control_box, until


@pytest.fixture
def box() -> Iterator[ControlBox]:
    with control_box() as running:
        yield running


def test_status_without_a_data_plane(box: ControlBox) -> None:
    status = box.call("status")
    assert status["box"] == "branch-1"
    assert status["data"]["up"] is False
    assert status["data"]["reason"] == "the data plane is not running"
    assert status["peers"][0]["state"] == "down"
    assert status["peers"][0]["prefixes"] == ["10.2.0.0/16", "fd02::/48"]
    assert status["flows"] == {"optimised": 0, "passed": 1}
    assert status["reduction"] is None
    assert box.call("peers")[0]["reason"] == "the data plane is not running"


def test_status_with_one(box: ControlBox) -> None:
    box.start_data()
    status = box.call("status")
    assert status["data"]["up"] is True
    assert status["data"]["pid"] == 4711
    assert status["reduction"] == pytest.approx(0.9)
    assert status["peers"][0]["state"] == "up"
    assert status["flows"] == {"optimised": 1, "passed": 1}
    assert status["refused"] == {"closed": 3, "plain": 0}
    assert [flow["kind"] for flow in box.call("flows")] == ["optimised", "passed"]
    assert [flow["kind"] for flow in box.call("flows", limit=1)] == ["optimised"]
    assert [flow["kind"] for flow in box.call("flows", limit=1, kind="passed")] == ["passed"]
    assert [flow["kind"] for flow in box.call("flows", kind="optimised")] == ["optimised"]
    passed = box.call("flows")[1]
    assert (passed["peer"], passed["reason"], passed["reason_number"]) == ("dc", "rule_pass", 5)
    assert (passed["application"], passed["guessed"]) == ("sip", True)
    assert passed["age_s"] > 0


def test_a_queue_before_a_busy_path_of_unknown_rate_is_held(box: ControlBox) -> None:
    box.start_data()
    box.data.depths = [0.3]
    until(lambda: len(box.kernel.links) == 1, "a limit is set")
    (link,) = box.kernel.links
    assert link.interface == "wan0"
    found = link.classes[0].rate
    until(lambda: box.kernel.links[0].classes[0].rate < found, "it goes down while the queue stands")
    box.write(path="rate = 1000000,")
    box.call("reload")
    until(lambda: box.kernel.links[0].classes[0].rate == 950_000, "a rate that is configured is used")


def test_the_data_plane_comes_and_goes(box: ControlBox) -> None:
    box.start_data()
    box.do(box.data.stop())
    until(lambda: "data.down" in box.kinds(), "the loss is noticed")
    assert box.call("status")["data"]["up"] is False
    box.data.trust = None
    box.start_data()
    assert box.kinds().count("data.up") == 2
    box.publish(Event(time=1.0, kind="data.stopped", text="as it should"))
    until(lambda: "data.stopped" in box.kinds(), "the goodbye arrives")
    box.do(box.data.stop())
    until(lambda: box.kinds().count("data.down") == 2, "the end is noticed")
    ends = [event["severity"] for event in box.call("events") if event["kind"] == "data.down"]
    assert ends == ["error", "info"], "an orderly stop is no error"


def test_bypass_is_everywhere_before_it_is_answered(box: ControlBox) -> None:
    box.start_data()
    assert box.call("bypass", on=True, name="dc")["bypass"]["peers"] == ["dc"]
    assert box.kernel.spec is not None
    assert box.kernel.spec.peers[0].bypass
    assert box.data.bypass is not None
    assert box.data.bypass.covers("dc")
    assert box.call("bypass", on=True, rule="web")["data"] == "told"
    assert box.kernel.spec.peers[0].rules[0].bypass
    assert box.call("status")["bypass"] == {"all": False, "peers": ["dc"], "rules": ["web"]}
    assert box.call("bypass", on=False)["bypass"] == {"all": False, "peers": [], "rules": []}
    assert not box.kernel.spec.peers[0].bypass


def test_bypass_outlives_control(box: ControlBox) -> None:
    assert box.call("bypass", on=True)["data"] == "not running"
    box.__exit__()
    assert box.kernel.spec is None, "an orderly stop leaves the kernel as it was"
    box.__enter__()
    assert box.call("status")["bypass"]["all"] is True
    box.start_data()
    assert box.data.bypass is not None
    assert box.data.bypass.all


@pytest.mark.parametrize(
    ("params", "kind", "words"),
    [
        ({"on": True, "name": "hq"}, "not_found", 'neither a peer nor a rule "hq"; peers: dc; rules: web'),
        ({"on": True, "peer": "web"}, "not_found", 'no peer "web"'),
        ({"on": True, "rule": "dc"}, "not_found", 'no rule "dc"'),
        ({"on": True, "peer": "dc", "rule": "nonsense"}, "bad_request", "one of peer, rule and name"),
        ({"on": True, "peer": ["dc"]}, "not_found", "no peer"),
        ({"on": "yes"}, "bad_request", "true or false"),
        ({}, "bad_request", "true or false"),
    ],
)
def test_a_bypass_of_nothing_known(box: ControlBox, params: dict[str, object], kind: str, words: str) -> None:
    with pytest.raises(RpcError, match=words) as caught:
        box.call("bypass", **params)
    assert caught.value.kind == kind
    assert box.call("status")["bypass"] == {"all": False, "peers": [], "rules": []}


def test_a_bypass_that_the_kernel_refuses(box: ControlBox) -> None:
    box.kernel.objection = "no memory"
    with pytest.raises(RpcError, match="no memory; nothing was changed"):
        box.call("bypass", on=True)
    assert box.call("status")["bypass"]["all"] is False
    assert not (box.directory / "state" / "bypass.json").exists()


def test_a_bypass_on_a_full_disk_holds_all_the_same(box: ControlBox) -> None:
    box.start_data()
    (box.directory / "state" / "bypass.json.new").mkdir()
    assert "bypass.json.new" in box.call("bypass", on=True)["unsaved"]
    assert box.kernel.spec is not None
    assert box.kernel.spec.peers[0].bypass
    assert box.data.bypass is not None
    assert box.data.bypass.all
    assert box.kinds()[-2:] == ["bypass.changed", "bypass.unsaved"]


def test_reload(box: ControlBox) -> None:
    box.start_data()
    assert box.call("reload") == {"changed": "nothing"}
    box.write(rules='[[rules]]\nname = "mail"\nports = ["25"]\neager = true', peer='cache = "64MiB"')
    assert box.call("reload") == {"changed": "peers dc(cache), rules mail", "data": "told"}
    assert box.kernel.spec is not None
    assert [rule.name for rule in box.kernel.spec.peers[0].rules] == ["web", "mail"]
    assert box.data.config is not None
    assert box.data.config.peers[0].cache == 64 * 2**20
    assert box.call("config")["rules"][1]["name"] == "mail"
    assert load(accepted_path(load(box.file))) == load(box.file), "a data plane that restarts begins with it"
    assert "config.changed" in box.kinds()


def test_a_reload_without_a_data_plane(box: ControlBox) -> None:
    box.write(peer="optimise = false")
    assert box.call("reload")["data"] == "not running"


@pytest.mark.parametrize(
    ("section", "text", "words"),
    [
        ("peer", "cash = 1", r'peers\[0\]\.cash: there is no such field; did you mean "cache"'),
        ("box", 'listen = "x"', r"box\.listen: must be a list"),
        ("peer", "[", "cannot be understood"),
    ],
)
def test_a_reload_of_a_wrong_file_changes_nothing(
    box: ControlBox, section: str, text: str, words: str
) -> None:
    box.start_data()
    before, spec = box.call("config"), box.kernel.spec
    box.write(**{section: text})
    with pytest.raises(RpcError, match=words) as caught:
        box.call("reload")
    assert caught.value.kind == "config"
    assert (box.call("config"), box.kernel.spec) == (before, spec)
    assert box.kinds()[-1] == "config.refused"


def test_a_reload_that_needs_a_restart(box: ControlBox) -> None:
    box.file.write_text(box.file.read_text().replace('id = "branch-1"', 'id = "branch-2"'))
    with pytest.raises(RpcError, match=r"box\.id: only a restart can change that"):
        box.call("reload")
    assert box.call("config")["box"]["id"] == "branch-1"


def test_a_reload_that_the_data_plane_refuses_is_taken_back(box: ControlBox) -> None:
    box.start_data()
    before, accepted = box.kernel.spec, write_accepted(load(box.file))
    box.data.objection = RpcError("refused", "no room")
    box.write(rules='[[rules]]\nname = "mail"\nports = ["25"]\neager = true')
    with pytest.raises(RpcError, match="no room"):
        box.call("reload")
    assert box.kernel.spec == before
    assert [rule["name"] for rule in box.call("config")["rules"]] == ["web"]
    assert box.data.config == load(accepted)
    assert load(accepted).rule("mail") is None
    assert "config.torn" not in box.kinds()


def test_a_reload_that_fails_half_way_is_taken_back_there_too(box: ControlBox) -> None:
    box.start_data()
    before = box.kernel.spec
    box.data.objection = RpcError("failed", "Cannot assign requested address")
    box.write(box='listen = ["10.77.0.1:4001"]')
    with pytest.raises(RpcError, match="refused it: Cannot assign") as caught:
        box.call("reload")
    assert caught.value.kind == "refused"
    assert box.kernel.spec == before
    assert box.data.config is not None
    assert not box.data.config.box.listen
    assert "config.torn" not in box.kinds()


def test_a_reload_that_the_data_plane_dies_of_is_not_what_it_starts_with(box: ControlBox) -> None:
    box.start_data()
    accepted = write_accepted(load(box.file))

    async def die(_: Params) -> None:
        await box.data.stop()

    box.data.handlers["reload"] = die
    box.write(box='listen = ["10.77.0.1:4001"]')
    with pytest.raises(RpcError, match="has ended while it was asked"):
        box.call("reload")
    assert not load(accepted).box.listen
    assert "config.torn" not in box.kinds()


def test_a_storm_of_reloads(box: ControlBox) -> None:
    assert box.control is not None
    box.write(peer="optimise = false")
    for _ in range(1000):
        box.tell(box.control.reload)
    until(lambda: "config.changed" in box.kinds(), "it is done")
    assert box.call("config")["peers"][0]["optimise"] is False
    assert box.kinds().count("config.changed") == 1


def test_a_reload_that_cannot_be_remembered_is_taken_back(box: ControlBox) -> None:
    box.start_data()
    before = box.kernel.spec
    accepted_path(load(box.file)).with_name("accepted.json.new").mkdir()
    box.write(rules='[[rules]]\nname = "mail"\nports = ["25"]\neager = true')
    with pytest.raises(RpcError, match="cannot be remembered"):
        box.call("reload")
    assert box.kernel.spec == before
    assert box.data.config is not None
    assert box.data.config.rule("mail") is None


def test_a_reload_that_the_kernel_refuses(box: ControlBox) -> None:
    box.start_data()
    told = box.data.config
    box.kernel.objection = "set too large"
    box.write(rules='[[rules]]\nname = "mail"\nports = ["25"]\neager = true')
    with pytest.raises(RpcError, match="set too large"):
        box.call("reload")
    assert box.data.config is told


def test_a_peer_that_is_removed_is_no_longer_bypassed(box: ControlBox) -> None:
    box.call("bypass", on=True, rule="web")
    box.file.write_text(box.file.read_text().replace('name = "web"', 'name = "www"'))
    box.call("reload")
    assert box.call("status")["bypass"]["rules"] == []


def test_what_others_took_away_is_put_back_and_said(box: ControlBox) -> None:
    assert box.kernel.spec is not None
    box.kernel.spec = None
    until(lambda: box.kernel.spec is not None, "the check comes round")
    until(lambda: "kernel.restored" in box.kinds(), "it is said")


def test_events_of_all_processes_come_together(box: ControlBox) -> None:
    box.start_data()
    with Client(box.socket) as client:
        client.subscribe()
        box.publish(Event(time=1.0, kind="peer.up", subject="dc", text="up", evidence={"n": 1}))
        happened = client.events()
        assert next(happened)["kind"] == "peer.up"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.connect(str(box.directory / "run" / "events.sock"))
            supervisor.send(
                encode(Event(time=2.0, kind="process.died", severity="error", subject="data", text="died"))
            )
            assert next(happened)["kind"] == "process.died"
            supervisor.send(b"garbage")
            assert next(happened)["kind"] == "supervisor.garbled"
    assert {"peer.up", "process.died", "control.started"} <= set(box.kinds())
    assert box.call("events", limit=1)[0]["kind"] == "supervisor.garbled"
    assert box.call("events", limit=0) == []
    assert [event["kind"] for event in box.call("events", limit=1, severity="error")] == ["process.died"]
    assert (box.directory / "state" / "events.jsonl").read_text().count("peer.up") == 1


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("events", {"since": "x"}),
        ("events", {"limit": -1}),
        ("events", {"severity": "grave"}),
        ("flows", {"limit": "all"}),
        ("flows", {"kind": ["passed"]}),
        ("nonsense", {}),
    ],
)
def test_wrong_questions(box: ControlBox, method: str, params: dict[str, object]) -> None:
    with pytest.raises(RpcError) as caught:
        box.call(method, **params)
    assert caught.value.kind in ("bad_request", "not_found")


def test_the_socket_is_for_its_owner_and_group(box: ControlBox) -> None:
    assert box.socket.stat().st_mode & 0o777 == 0o660
    assert (box.directory / "run" / "events.sock").stat().st_mode & 0o777 == 0o600


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    box = ControlBox(Path(tmp_path))
    with box:
        assert box.kernel.spec is not None
    assert not any((tmp_path / "run").iterdir())
    assert box.kernel.spec is None
    box.close()


def test_what_cannot_start_leaves_the_kernel_alone(tmp_path: Path) -> None:
    box = ControlBox(tmp_path)
    (tmp_path / "run" / "control.sock").mkdir()
    with pytest.raises(OSError):
        asyncio.run(Control(box.file, load(box.file), box.kernel, Notifier({})).run())
    assert box.kernel.spec is None
    box.close()
