"""What a directory's machine is to be, from what was asked and staged."""

from pathlib import Path
from typing import Any

import pytest

from vmhost.directory.planning import Asked, health_of, recipe, seed
from vmhost.errors import VmError

STAGE: dict[str, Any] = {
    "format": 1,
    "role": "rodc",
    "realm": "AD.EXAMPLE",
    "host": "br1",
    "site": "Branch-1",
    "address": "10.1.0.21/16",
    "gateway": "",
    "resolvers": ["10.0.0.1"],
    "time": ["10.0.0.1"],
    "centre": ["dc.ad.example"],
    "prefetch": [],
    "halves": {"workgroup": "AD"},
    "password": "once",
    "health": {"account": "chk-br1", "password": "for ever"},
}

NEW: dict[str, Any] = {"join": "new", "host": "br1", "site": "S", "address": "10.1.0.21/16"}


def _asked(**given: Any) -> Asked:
    return Asked(**{"join": "rodc", "realm": "ad.example", "bundle": "/b", "bridge": "br0", **given})


def test_what_was_staged_is_the_seed() -> None:
    assert seed(_asked(stage=STAGE), "", "") == STAGE


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"stage": None}, "not one of this release"),
        ({"stage": {**STAGE, "format": 2}}, "not one of this release"),
        ({"stage": {**STAGE, "host": "a b"}}, "not one of this release"),
        ({"stage": {**STAGE, "centre": "dc"}}, "not one of this release"),
        ({"stage": {**STAGE, "centre": []}}, "not one of this release"),
        ({"stage": {**STAGE, "site": "a\nb"}}, "not one of this release"),
        ({"stage": {**STAGE, "gateway": "10.2.0.1"}}, "not one of this release"),
        ({"stage": {**STAGE, "resolvers": ["+trace"]}}, "not one of this release"),
        ({"stage": {**STAGE, "resolvers": [1.5]}}, "not one of this release"),
        ({"stage": {**STAGE, "time": ["a iburst\nlocal stratum 1"]}}, "not one of this release"),
        ({"stage": {**STAGE, "prefetch": ["alice"]}}, "not one of this release"),
        (
            {"stage": {**STAGE, "health": {"account": "Administrator", "password": ""}}},
            "not one of this release",
        ),
        ({**NEW, "gateway": "10.1.0."}, "gateway: "),
        ({**NEW, "gateway": "10.2.0.1"}, "gateway: 10.2.0.1 is not in the network of 10.1.0.21/16"),
        ({**NEW, "resolvers": ("dns.example",)}, "resolvers: "),
        ({**NEW, "time": ("a b",)}, "time: "),
        ({"stage": STAGE, "join": "dc"}, "for a rodc of AD.EXAMPLE, not for a dc"),
        ({"stage": STAGE, "realm": "other.example"}, "not for a rodc of OTHER.EXAMPLE"),
        ({"stage": STAGE, "address": "10.1.0.22/16"}, "leave them out"),
        ({"join": "new", "host": "br1", "site": "S"}, "address: "),
        ({"join": "new", "realm": "x", "host": "br1", "site": "S"}, "realm: "),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(VmError, match=said):
        seed(_asked(**given), "secret", "healthy")


def test_a_new_domain_is_named_by_its_realm() -> None:
    made = seed(_asked(**NEW), "secret", "healthy")
    assert (made["role"], made["halves"], made["password"]) == ("new", {"workgroup": "AD"}, "secret")
    assert made["health"] == {"account": "chk-br1", "password": "healthy"}


def test_the_seed_is_the_last_disk_and_nothing_escapes_its_quotes() -> None:
    made = recipe(_asked(stage=STAGE, bundle='/a "b"\\'), STAGE, "/seed.raw", Path("/kept"), "arm64", "tcg")
    assert made.arch == "arm64"
    assert [disk.name for disk in made.disks] == ["data", "seed"]
    assert made.bundle == '/a "b"\\'
    assert made.autostart
    assert (made.kind, made.role) == ("directory", _asked(stage=STAGE).join)
    checked = health_of(made)
    assert (checked.account, checked.secret) == ("chk-br1", "/kept/health-password")
    assert (checked.ca, checked.within) == ("/kept/ca.pem", 15)
