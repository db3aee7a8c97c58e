"""The name in a ClientHello, from a real one, and from what only looks like it."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import identity
from appliance.lanes import hint


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A ClientHello as a box that dials sends it, and the box's certificate."""
    own = identity.create(tmp_path_factory.mktemp("key") / "box.key")
    arriving, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = identity.tls_context(server_side=False, identity=own, peer_certs=[])
    name = hint.make(own.certificate)
    tls = context.wrap_bio(arriving, leaving, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return leaving.read(), own.certificate


def test_who_has_the_certificate_knows_who_comes(hello: tuple[bytes, bytes]) -> None:
    said, certificate = hello
    assert hint.meant(hint.read(said), certificate)
    assert not hint.meant(hint.read(said), certificate + b"x")


def test_it_is_another_one_each_time() -> None:
    assert hint.make(b"certificate") != hint.make(b"certificate")


def test_it_says_how_much_it_needs(hello: tuple[bytes, bytes]) -> None:
    said, _ = hello
    assert hint.needed(said[:3]) == hint.RECORD
    assert hint.needed(said[:100]) == hint.needed(said) == len(said)


def test_half_a_hello_says_nothing(hello: tuple[bytes, bytes]) -> None:
    said, _ = hello
    assert not any(hint.read(said[:end]) for end in range(len(said)))


@given(st.binary(max_size=300))
def test_what_is_no_hello_says_nothing_that_is_meant(noise: bytes) -> None:
    assert not hint.meant(hint.read(noise), b"certificate")
    assert hint.RECORD <= hint.needed(noise) <= hint.RECORD + hint.LONGEST


@given(st.text(max_size=60))
def test_a_name_that_somebody_made_up_is_nobodys(name: str) -> None:
    assert not hint.meant(name, b"certificate")
