"""What may leave the box, and what may not."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from appliance import identity
from appliance.diagnose.redaction import REMOVED, Scrubber, redact, secrets_of


@pytest.fixture
def key(tmp_path: Path) -> identity.Identity:
    return identity.create(tmp_path / "box.key")


def test_values_of_telling_names_are_removed(key: identity.Identity) -> None:
    tree = {
        "box": {"id": "branch-1", "key": "/etc/branchline/box.key", "run_dir": "/run/branchline"},
        "peers": [{"id": "dc", "key": key.public, "enrol_token": "abc", "prefixes": ["10.2.0.0/16"]}],
        "tokens": ["one", "two"],
        "keys": {"a": 1},
        "key": None,
    }
    assert redact(tree) == {
        "box": {"id": "branch-1", "key": REMOVED, "run_dir": "/run/branchline"},
        "peers": [
            {
                "id": "dc",
                "key": identity.fingerprint(key.certificate),
                "enrol_token": REMOVED,
                "prefixes": ["10.2.0.0/16"],
            }
        ],
        "tokens": [REMOVED, REMOVED],
        "keys": REMOVED,
        "key": None,
    }


def test_words_that_only_contain_a_telling_one_stay() -> None:
    tree = {"monkey": "a", "tokenised": 2, "keyboard": [1]}
    assert redact(tree) == tree


def test_a_key_is_found_wherever_it_stands(key: identity.Identity) -> None:
    pem = key.path.read_bytes()
    private = pem[: pem.index(b"-----BEGIN CERTIFICATE")]
    der = base64.b64decode(b"".join(private.splitlines()[1:-1]))
    line = private.splitlines()[2]
    scrubber = Scrubber([*secrets_of(pem), str(key.path).encode()])
    for hidden in (
        private,
        der,
        line,
        b"x" + line + b"y",
        str(key.path).encode(),
        json.dumps(pem.decode()).encode(),
    ):
        cleaned = scrubber.clean(b"before " + hidden + b" after")
        assert cleaned.startswith(b"before ")
        assert REMOVED.encode() in cleaned
        assert line not in cleaned
        assert der not in cleaned


def test_any_private_key_is_taken_out_also_one_that_nobody_knew(key: identity.Identity) -> None:
    pem = key.path.read_bytes()
    for text in (pem, pem[:120]):
        cleaned = Scrubber([]).clean(b"# my old key\n" + text)
        assert b"PRIVATE KEY" not in cleaned
        assert cleaned.startswith(b"# my old key\n")
        assert pem.splitlines()[1] not in cleaned


def test_what_is_in_everything_is_no_secret() -> None:
    assert Scrubber([b"", b"a"]).clean(b"banana") == b"banana"
