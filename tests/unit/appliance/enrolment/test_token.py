"""The one-time token: one line that says everything, and notices when it is damaged."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.enrolment.token import Token, TokenError

TOKEN = Token(bytes(range(32)), b"\x07" * 32, "branch-17", ("10.9.2.1:4001", "[fd09:2::1]:4001"))


def test_a_token_is_one_line_that_can_be_pasted() -> None:
    text = str(TOKEN)
    assert Token.parse(text) == TOKEN
    assert Token.parse(f"  {text[:40]}\n {text[40:]}\n") == TOKEN
    assert text.isascii()
    assert len(text) < 200


def test_the_certificate_follows_from_the_seed() -> None:
    """Two releases must make the same certificate of a token, so this one is written down."""
    found = hashlib.sha256(TOKEN.certificate()).hexdigest()
    assert found == "5f4f24e18d254fa0c867f3549121ed1111a055f678d68a1e09fafc6f6e52d510"


def test_every_token_is_another() -> None:
    one, other = (Token.new(b"certificate", "a", ()) for _ in range(2))
    assert one.seed != other.seed
    assert one.certificate() != other.certificate()


@given(st.integers(min_value=0), st.sampled_from("AZaz09-_"))
def test_a_damaged_token_is_noticed(at: int, letter: str) -> None:
    text = str(TOKEN)
    at %= len(text)
    if text[at] == letter:
        return
    damaged = text[:at] + letter + text[at + 1 :]
    try:
        assert Token.parse(damaged) == TOKEN, "only spare bits of the last letter may differ unnoticed"
        assert at == len(text) - 1
    except TokenError:
        pass


@pytest.mark.parametrize("text", ["", "hello", "branchline1.", str(TOKEN)[:-5], str(TOKEN)[3:]])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(TokenError, match="branchline enrol invite"):
        Token.parse(text)
