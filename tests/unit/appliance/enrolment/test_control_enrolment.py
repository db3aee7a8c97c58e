"""The centre's control plane: it invites, takes in, and cuts off; wholly or not at all."""

import base64
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance import identity
from appliance.config import load, peers_d
from appliance.enrolment.messages import ASKED
from appliance.enrolment.token import Token
from appliance.events import Event
from appliance.rpc import RpcError
from appliance.trust import Trust
from tests.unit.appliance.control_box import ControlBox, control_box, until


@pytest.fixture
def box() -> Iterator[ControlBox]:
    with control_box() as running:
        running.write(box='listen = ["10.9.1.1:4001", "[::]:4001"]')
        running.call("reload")
        running.start_data()
        yield running


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("keys")
    return {name: identity.create(directory / name).public for name in ("one", "two")}


def come(box: ControlBox, token: str, key: str, *, name: str = "branch-7") -> dict[str, Any]:
    """A box comes with the token; what it is answered."""
    before = len(box.data.enrol_answers)
    certificate = base64.b64encode(Token.parse(token).certificate()).decode()
    evidence = {
        "ticket": before,
        "certificate": certificate,
        "request": {"box": name, "key": key, "prefixes": []},
    }
    box.publish(Event(time=time.time(), kind=ASKED, text="a box asks", evidence=evidence))
    until(lambda: len(box.data.enrol_answers) > before, "control decides")
    answer = box.data.enrol_answers[-1]
    assert answer["ticket"] == before
    return answer


def invite(box: ControlBox, **params: Any) -> str:
    return str(
        box.call("enrol_invite", branch="branch-7", **({"prefixes": ["10.7.0.0/16"]} | params))["token"]
    )


def test_a_branch_is_enrolled_in_one_step(box: ControlBox, keys: dict[str, str]) -> None:
    token = invite(box)
    parsed = Token.parse(token)
    assert parsed.dial == ("10.9.1.1:4001",), "an endpoint of every address is nowhere"
    assert box.data.trust is not None
    assert box.data.trust.invitation(parsed.certificate()) is not None
    assert [entry["state"] for entry in box.call("enrol_list")] == ["open"]
    answer = come(box, token, keys["one"])["answer"]
    assert answer == {"box": "branch-1", "prefixes": ["10.1.0.0/16"], "granted": ["10.7.0.0/16"]}
    assert [entry["state"] for entry in box.call("enrol_list")] == ["taken"]
    assert box.data.config is not None
    assert box.data.config.peer("branch-7") is not None
    assert box.kernel.spec is not None
    assert [peer.id for peer in box.kernel.spec.peers] == ["dc", "branch-7"]
    assert load(box.file).peer("branch-7") == box.data.config.peer("branch-7")
    assert box.call("reload")["changed"] == "nothing"
    assert "answer" in come(box, token, keys["one"]), "its first answer may have been lost"
    assert "used already" in come(box, token, keys["two"])["refusal"]


def test_nothing_secret_is_kept(box: ControlBox) -> None:
    secret = Token.parse(invite(box)).seed
    forms = {secret, base64.b64encode(secret), base64.urlsafe_b64encode(secret), secret.hex().encode()}
    for file in box.directory.rglob("*"):
        if file.is_file():
            assert not any(form in file.read_bytes() for form in forms), file


def test_a_withdrawn_token_is_worth_nothing(box: ControlBox, keys: dict[str, str]) -> None:
    token = invite(box)
    box.call("enrol_withdraw", branch="branch-7")
    assert "withdrawn" in come(box, token, keys["one"])["refusal"]
    with pytest.raises(RpcError, match="no invitation"):
        box.call("enrol_withdraw", branch="branch-7")


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"branch": "dc"}, "there is a box"),
        ({"branch": "branch-1"}, "there is a box"),
        ({"branch": "A B"}, "is not a name"),
        ({"prefixes": ["10.2.0.0/16"]}, "belongs to"),
        ({"prefixes": ["ten"]}, "is not a prefix"),
        ({"dial": ["nowhere"]}, "is not an address and a port"),
        ({"life": 0.5}, "good for 1 to"),
    ],
)
def test_what_cannot_be_invited(box: ControlBox, params: dict[str, Any], why: str) -> None:
    with pytest.raises(RpcError, match=why):
        box.call("enrol_invite", **({"branch": "branch-7"} | params))
    assert not box.call("enrol_list")


def test_a_full_disk_refuses_and_leaves_nothing(
    box: ControlBox, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = invite(box)
    honest = os.fsync

    def full(descriptor: int) -> None:
        if "peers.d" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        honest(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in come(box, token, keys["one"])["refusal"]
    monkeypatch.undo()
    assert not peers_d.has(box.file, "branch-7")
    assert [entry["state"] for entry in box.call("enrol_list")] == ["open"]
    assert "answer" in come(box, token, keys["two"])


def test_a_data_plane_that_objects_refuses_and_leaves_nothing(box: ControlBox, keys: dict[str, str]) -> None:
    token = invite(box)
    box.data.objection = RpcError("refused", "no room")
    assert "no room" in come(box, token, keys["one"])["refusal"]
    assert not peers_d.has(box.file, "branch-7")
    assert box.call("config")["peers"][-1]["id"] == "dc"
    assert "answer" in come(box, token, keys["one"])


def test_revocation_is_at_once_and_for_ever(box: ControlBox, keys: dict[str, str]) -> None:
    come(box, invite(box), keys["one"])
    answer = box.call("enrol_revoke", peer="branch-7")
    assert (answer["data"], answer["left"], answer["unsaved"]) == ("told", "", "")
    assert box.data.config is not None
    assert box.data.config.peer("branch-7") is None
    assert load(box.file).peer("branch-7") is None
    assert [gone.peer for gone in Trust.load(box.directory / "state").revocations] == ["branch-7"]
    token = invite(box)
    assert "was revoked" in come(box, token, keys["one"])["refusal"]
    assert "answer" in come(box, token, keys["two"])


def test_a_peer_of_the_main_file_stays_there_and_is_shown_as_revoked(box: ControlBox) -> None:
    assert "take it out there" in box.call("enrol_revoke", peer="dc")["left"]
    assert box.data.trust is not None
    assert [gone.peer for gone in box.data.trust.revocations] == ["dc"]
    with pytest.raises(RpcError, match="the peers are: dc"):
        box.call("enrol_revoke", peer="nobody")


def test_a_rule_that_names_a_revoked_peer_keeps_the_file_good(box: ControlBox, keys: dict[str, str]) -> None:
    come(box, invite(box), keys["one"])
    box.write(
        box='listen = ["10.9.1.1:4001", "[::]:4001"]',
        rules='[[rules]]\nname = "its"\npeers = ["branch-7"]\naction = "pass"',
    )
    box.call("reload")
    assert "rules[1].peers[0]" in box.call("enrol_revoke", peer="branch-7")["left"]
    assert load(box.file).peer("branch-7") is not None


def test_a_full_disk_does_not_keep_a_stolen_box_in(box: ControlBox, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_trust: Trust, _directory: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Trust, "save", full)
    assert "No space left" in box.call("enrol_revoke", peer="dc")["unsaved"]
    assert box.data.trust is not None
    assert box.data.trust.revocations
    assert "peer.revoked_unsaved" in box.kinds()
