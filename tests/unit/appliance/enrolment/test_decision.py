"""Who becomes a peer with an invitation, and who does not."""

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.config import Config, from_dict
from appliance.enrolment.decision import RefusedError, decide
from appliance.enrolment.messages import Request
from appliance.identity import Identity, create, fingerprint
from appliance.trust import Invitation, Trust

DOOR = b"certificate of the one-time key"
NOW = 1_000_000.0


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    directory = tmp_path_factory.mktemp("keys")
    return {name: create(directory / name) for name in ("new", "other", "peer")}


@pytest.fixture
def config(keys: dict[str, Identity]) -> Config:
    box = {
        "id": "dc",
        "lan": ["lan0"],
        "wan": ["wan0"],
        "prefixes": ["10.2.0.0/16"],
        "listen": ["10.9.2.1:4001"],
    }
    peer = {"id": "branch-1", "key": keys["peer"].public, "prefixes": ["10.1.0.0/16"]}
    return from_dict({"box": box, "peers": [peer]})


def trusting(**fields: Any) -> Trust:
    usual: dict[str, Any] = {"branch": "branch-7", "certificate": DOOR, "made": NOW, "expires": NOW + 60}
    return Trust().inviting(Invitation(**(usual | fields)), NOW)


def asking(keys: dict[str, Identity], box: str = "branch-7", key: str = "new", *prefixes: str) -> Request:
    return Request(box, keys[key].public, list(prefixes))


def test_a_branch_gets_what_it_was_granted(config: Config, keys: dict[str, Identity]) -> None:
    trust = trusting(prefixes=("10.7.0.0/16",))
    for claimed in ((), ("10.7.3.0/24",)):
        peer, _ = decide(config, trust, DOOR, asking(keys, "branch-7", "new", *claimed), NOW)
        assert (peer.id, peer.prefixes) == ("branch-7", ("10.7.0.0/16",))
        assert peer.key.der == keys["new"].certificate


def test_without_a_grant_it_gets_what_nobody_has(config: Config, keys: dict[str, Identity]) -> None:
    peer, _ = decide(
        config, trusting(), DOOR, asking(keys, "branch-7", "new", "10.7.0.0/16", "fd07::/48"), NOW
    )
    assert peer.prefixes == ("10.7.0.0/16", "fd07::/48")
    for greedy in ("10.2.9.0/24", "10.1.0.0/16", "0.0.0.0/0"):
        with pytest.raises(RefusedError, match="overlaps"):
            decide(config, trusting(), DOOR, asking(keys, "branch-7", "new", greedy), NOW)


def test_the_same_box_may_ask_again_and_another_may_not(config: Config, keys: dict[str, Identity]) -> None:
    trust = trusting(prefixes=("10.7.0.0/16",))
    peer, invitation = decide(config, trust, DOOR, asking(keys), NOW)
    trust = trust.taking(invitation, fingerprint(peer.key.der))
    config = msgspec.structs.replace(config, peers=(*config.peers, peer))
    assert decide(config, trust, DOOR, asking(keys), NOW)[0] == peer
    with pytest.raises(RefusedError, match="used already"):
        decide(config, trust, DOOR, asking(keys, "branch-7", "other"), NOW)


@pytest.mark.parametrize(
    ("trust", "request_", "now", "why"),
    [
        (Trust(), ("branch-7", "new"), NOW, "withdrawn"),
        (trusting(), ("branch-8", "new", "10.7.0.0/16"), NOW, 'is for "branch-7"'),
        (trusting(), ("branch-7", "new", "10.7.0.0/16"), NOW + 60, "was good until 1970-01-12"),
        (trusting(), ("branch-7", "new", "10.7.0.0/16"), NOW - 3600, "by the centre's clock"),
        (trusting(), ("branch-7", "new"), NOW, "no prefixes yet"),
        (trusting(), ("branch-7", "new", "ten"), NOW, "is not a prefix"),
        (trusting(prefixes=("10.7.0.0/16",)), ("branch-7", "new", "10.8.0.0/16"), NOW, "grants 10.7.0.0/16"),
        (trusting(), ("branch-7", "peer", "10.7.0.0/16"), NOW, 'also the key of peer "branch-1"'),
        (trusting(branch="branch-1"), ("branch-1", "new", "10.7.0.0/16"), NOW, "revoke it first"),
    ],
)
def test_who_is_refused(
    config: Config, keys: dict[str, Identity], trust: Trust, request_: tuple[str, ...], now: float, why: str
) -> None:
    with pytest.raises(RefusedError, match=why):
        decide(config, trust, DOOR, asking(keys, *request_), now)


def test_a_revoked_key_never_comes_back(config: Config, keys: dict[str, Identity]) -> None:
    trust = trusting(prefixes=("10.7.0.0/16",)).revoking(
        "branch-7", fingerprint(keys["new"].certificate), NOW
    )
    with pytest.raises(RefusedError, match="was revoked"):
        decide(config, trust, DOOR, asking(keys), NOW)
    assert decide(config, trust, DOOR, asking(keys, "branch-7", "other"), NOW)


@pytest.mark.parametrize("key", ["", "nonsense", base64.b64encode(b"\x30\x00").decode()])
def test_what_is_no_key_is_refused(config: Config, key: str) -> None:
    with pytest.raises(RefusedError, match="key"):
        decide(config, trusting(), DOOR, Request("branch-7", key, ["10.7.0.0/16"]), NOW)


def test_trust_outlives_the_process(tmp_path: Path) -> None:
    trust = trusting(prefixes=("10.7.0.0/16",)).revoking("branch-9", "SHA256:x", NOW)
    assert Trust.load(tmp_path) == Trust()
    trust.save(tmp_path)
    assert Trust.load(tmp_path) == trust
    assert Trust.from_dict(trust.describe()) == trust
    assert (tmp_path / "trust.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "trust.json").write_text("{")
    with pytest.raises(ValueError, match="revoke them again"):
        Trust.load(tmp_path)


def test_a_new_invitation_takes_the_place_of_an_open_one() -> None:
    trust = trusting().inviting(
        Invitation(branch="branch-7", certificate=b"second", made=NOW, expires=NOW + 60), NOW
    )
    assert [found.certificate for found in trust.invitations] == [b"second"]
    late = trust.inviting(
        Invitation(branch="b", certificate=b"c", made=NOW, expires=NOW + 1), NOW + 8 * 86400
    )
    assert [found.branch for found in late.invitations] == ["b"]
