"""A box joins through a real reception: with the token, and with nothing less."""

import base64
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import identity
from appliance.config import load
from appliance.enrolment.branch import Site, enrolled, paths
from appliance.enrolment.desk import MOST_WAITING, Desk
from appliance.enrolment.joining import JoinError, join
from appliance.enrolment.messages import Answer, Request
from appliance.enrolment.token import Token
from appliance.identity import Identity
from appliance.lanes.lane import Lane
from appliance.lanes.reception import Reception
from appliance.loop import Loop


class Centre:
    """A loop in a thread with a reception, behind which a desk says yes, or why not."""

    def __init__(self, directory: Path) -> None:
        self.identity = identity.create(directory / "dc.key")
        self.requests: list[Request] = []
        self.refusal = ""
        self.loop = Loop()
        self.desk = Desk(self.loop, self._decide)
        self.reception = Reception(self.loop, self._adopt, lambda _remote, _reason: None, 8)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.endpoint = f"127.0.0.1:{probe.getsockname()[1]}"
        self.reception.listen((("127.0.0.1", int(self.endpoint.rpartition(":")[2])),))
        self.token = Token.new(self.identity.certificate, "branch-7", (self.endpoint,))
        self.pin(self.token)
        self._thread = threading.Thread(target=self.loop.run)
        self._thread.start()

    def pin(self, token: Token) -> None:
        self.reception.context = identity.tls_context(
            server_side=True, identity=self.identity, peer_certs=[token.certificate()]
        )

    def _adopt(self, lane: Lane) -> bool:
        self.desk.take(lane)
        return True

    def _decide(self, ticket: int, _lane: Lane, request: Request) -> None:
        self.requests.append(request)
        if self.refusal:
            self.desk.refuse(ticket, self.refusal)
        else:
            self.desk.answer(ticket, Answer("dc", ["10.2.0.0/16"], ["10.7.0.0/16"]))

    def close(self) -> None:
        def close() -> None:
            self.desk.close()
            self.reception.close()
            self.loop.stop()

        self.loop.call_threadsafe(close)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    made = Centre(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def own(tmp_path: Path) -> Identity:
    return identity.create(tmp_path / "own.key")


def test_the_centre_answers_whoever_has_the_token(centre: Centre, own: Identity) -> None:
    answer, certificate = join(centre.token, Request("branch-7", own.public))
    assert answer == Answer("dc", ["10.2.0.0/16"], ["10.7.0.0/16"])
    assert certificate == centre.identity.certificate
    assert [request.key for request in centre.requests] == [own.public]


def test_another_token_does_not_even_get_to_ask(centre: Centre, own: Identity) -> None:
    wrong = Token.new(centre.identity.certificate, "branch-7", (centre.endpoint,))
    with pytest.raises(JoinError, match="does not know this token"):
        join(wrong, Request("branch-7", own.public))
    assert not centre.requests


def test_nothing_is_said_to_a_box_in_between(centre: Centre, own: Identity, tmp_path: Path) -> None:
    other = identity.create(tmp_path / "other.key")
    asked_for = Token(
        centre.token.seed, Token.new(other.certificate, "", ()).centre, "branch-7", (centre.endpoint,)
    )
    with pytest.raises(JoinError, match="not the one that made this token"):
        join(asked_for, Request("branch-7", own.public))
    assert not centre.requests


def test_a_token_has_one_place_at_the_desk(centre: Centre, own: Identity) -> None:
    """Whoever holds it and asks nothing keeps nobody out."""
    host, _, port = centre.endpoint.rpartition(":")
    with centre.token.identity() as one_time:
        context = identity.tls_context(
            server_side=False, identity=one_time, peer_certs=[centre.identity.certificate]
        )
    silent = []
    try:
        for _ in range(MOST_WAITING):
            tcp = socket.create_connection((host, int(port)))
            silent.append(context.wrap_socket(tcp))
            silent[-1].settimeout(20)
            assert silent[-1].recv(100), "the greeting"
        assert join(centre.token, Request("branch-7", own.public))[0].box == "dc"
        for tls in silent:
            assert b"another lane" in tls.recv(100)
    finally:
        for tls in silent:
            tls.close()


def test_a_refusal_reaches_the_person(centre: Centre, own: Identity) -> None:
    centre.refusal = "the disk is full"
    with pytest.raises(JoinError, match="the centre refused: the disk is full"):
        join(centre.token, Request("branch-7", own.public))


def test_a_centre_that_is_not_there(own: Identity) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = f"127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(JoinError, match="cannot be reached"):
        join(Token.new(b"x", "branch-7", (closed,)), Request("branch-7", own.public))


def test_a_new_box_is_ready_to_run(centre: Centre, tmp_path: Path) -> None:
    file = tmp_path / "etc" / "branchline.toml"
    made = enrolled(centre.token, Site(file, ("lan0",), ("wan0",)))
    assert (made.box, made.centre) == ("branch-7", "dc")
    config = load(file)
    assert config.box.prefixes == ("10.7.0.0/16",)
    assert [(peer.id, peer.prefixes, peer.paths[0].dial) for peer in config.peers] == [
        ("dc", ("10.2.0.0/16",), (centre.endpoint,))
    ]
    assert config.peers[0].key.der == centre.identity.certificate
    assert (
        base64.b64decode(centre.requests[0].key)
        == identity.load_identity(file.parent / "box.key").certificate
    )


def test_every_wan_of_the_centre_is_a_path() -> None:
    assert paths(["10.9.2.1:4001"]) == [{"name": "wan", "dial": ["10.9.2.1:4001"]}]
    assert paths(["[fd09:2::1]:4001", "10.9.2.1:4001", "10.8.2.1:4001"]) == [
        {"name": "wan", "dial": ["[fd09:2::1]:4001", "10.9.2.1:4001"]},
        {"name": "wan2", "dial": ["10.8.2.1:4001"]},
    ]


@pytest.mark.parametrize("lost", ["branchline.toml", "peers.d/dc.toml"])
def test_the_same_command_again_finishes_what_was_cut_short(
    centre: Centre, tmp_path: Path, lost: str
) -> None:
    file = tmp_path / "etc" / "branchline.toml"
    site = Site(file, ("lan0",), ("wan0",))
    enrolled(centre.token, site)
    before = load(file)
    (file.parent / lost).unlink()
    enrolled(centre.token, site)
    assert load(file) == before
    assert len({request.key for request in centre.requests}) == 1, "its key is made once"


def test_nobody_is_asked_by_a_box_that_cannot_use_the_answer(centre: Centre, tmp_path: Path) -> None:
    file = tmp_path / "etc" / "branchline.toml"
    with pytest.raises(JoinError, match="--lan and --wan"):
        enrolled(centre.token, Site(file, (), ()))
    assert not file.parent.exists()
    enrolled(centre.token, Site(file, ("lan0",), ("wan0",)))
    other = Token.new(centre.identity.certificate, "branch-8", (centre.endpoint,))
    with pytest.raises(Exception, match='the token is for "branch-8"'):
        enrolled(other, Site(file, (), ()))
    assert len(centre.requests) == 1


def test_a_disk_that_is_full_leaves_nothing_half_made(
    centre: Centre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "etc" / "branchline.toml"
    honest = os.fsync

    def full(descriptor: int) -> None:
        if ".toml" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        honest(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        enrolled(centre.token, Site(file, ("lan0",), ("wan0",)))
    assert not file.exists()
    assert not (file.parent / "peers.d" / "dc.toml").exists()
    monkeypatch.undo()
    enrolled(centre.token, Site(file, ("lan0",), ("wan0",)))
    assert load(file).peer("dc") is not None
