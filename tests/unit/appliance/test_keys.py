"""A peer's key gives way to another: what control writes down, and what it refuses to."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance import identity, rotation
from appliance.events import Event
from appliance.identity import fingerprint
from appliance.rpc import RpcError
from appliance.trust import Trust
from tests.unit.appliance.control_box import ControlBox, control_box, until
from vmhost import apart


@pytest.fixture
def box() -> Iterator[ControlBox]:
    with control_box() as running:
        running.start_data()
        yield running


def tell(box: ControlBox, kind: str, public: str, peer: str = "dc") -> None:
    box.publish(Event(time=time.time(), kind=kind, text="", evidence={"peer": peer, "key": public}))


def keys(box: ControlBox) -> tuple[bytes, ...]:
    assert box.data.trust is not None
    assert box.data.config is not None
    peer = box.data.config.peer("dc")
    assert peer is not None
    return box.data.trust.keys(peer)


def test_both_keys_are_taken_until_the_new_one_is_proved(box: ControlBox, tmp_path: Path) -> None:
    old = identity.load_identity(box.directory / "peer.key").certificate
    first, second = (identity.create(tmp_path / name) for name in ("first", "second"))
    for before, after in ((old, first), (first.certificate, second)):
        assert keys(box) == (before,)
        tell(box, rotation.ANNOUNCED, after.public)
        until(lambda before=before, after=after: keys(box) == (before, after.certificate), "either")  # type: ignore[misc]
        tell(box, rotation.PROVED, after.public)
        until(lambda after=after: keys(box) == (after.certificate,), "the new one")  # type: ignore[misc]
    box.call("enrol_revoke", peer="dc")
    assert keys(box) == ()
    assert Trust.load(box.directory / "state") == box.data.trust, "a restart knows all of it"


def test_a_key_written_by_people_counts(box: ControlBox, tmp_path: Path) -> None:
    tell(box, rotation.ANNOUNCED, identity.create(tmp_path / "first").public)
    until(lambda: len(keys(box)) == 2, "either")
    box.public = identity.create(tmp_path / "pasted").public
    box.write()
    box.call("reload")
    assert [fingerprint(key) for key in keys(box)] == [
        fingerprint(identity.load_identity(tmp_path / "pasted").certificate)
    ]


@pytest.mark.parametrize("public", ["", "nonsense", "MAA="])
def test_what_is_no_key_is_not_taken(box: ControlBox, public: str) -> None:
    before = keys(box)
    tell(box, rotation.ANNOUNCED, public)
    until(lambda: "key.failed" in box.kinds(), "it is said")
    assert keys(box) == before


def test_the_next_key_takes_its_place_when_all_are_ready(box: ControlBox) -> None:
    path = box.directory / "box.key"
    answer = box.call("key_rotate")
    made = identity.load_identity(identity.next_path(path))
    assert answer["fingerprint"] == fingerprint(made.certificate)
    assert box.call("key_rotate")["fingerprint"] == answer["fingerprint"], "there is one at a time"
    tell(box, rotation.READY, made.public, "")
    until(lambda: "key.changed" in box.kinds(), "it is in place")
    assert identity.load_identity(path).certificate == made.certificate
    assert not identity.next_path(path).exists()


def test_bypass_does_not_wait_for_a_key_that_is_being_made(
    box: ControlBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor for the token of an invitation."""
    asked, go_on = threading.Semaphore(0), threading.Event()
    make = apart.ask

    def slow(*arguments: object) -> object:
        asked.release()
        assert go_on.wait(60)
        return make(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(apart, "ask", slow)
    invitation = {"branch": "branch-7", "prefixes": ["10.7.0.0/16"], "dial": ["10.9.1.1:4001"]}
    with ThreadPoolExecutor() as pool:
        try:
            rotated = pool.submit(box.call, "key_rotate")
            invited = pool.submit(box.call, "enrol_invite", **invitation)
            assert all(asked.acquire(timeout=60) for _ in range(2))
            assert box.call("bypass", on=True)["bypass"]["all"]
            assert not rotated.done()
            assert not invited.done()
            box.write(rules='[[rules]]\nname = "mail"\nports = ["25"]\n')
            box.call("reload")
        finally:
            go_on.set()
        assert rotated.result(60)["fingerprint"]
        with pytest.raises(RpcError, match="has changed meanwhile"):
            invited.result(60)
