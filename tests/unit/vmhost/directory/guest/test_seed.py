"""What a machine makes of its seed."""

import pytest

from vmhost.directory.guest.machine import TLS, files
from vmhost.directory.guest.seed import FORMAT, Seed, parse

TREE = {
    "format": FORMAT,
    "role": "rodc",
    "realm": "AD.EXAMPLE",
    "host": "br1",
    "site": "Branch-1",
    "address": "10.1.0.21/16",
    "gateway": "10.1.0.1",
    "resolvers": ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
    "time": ["10.0.0.1"],
    "tls": {"key": "secret", "cert": "public"},
    "password": "once",
    "staged": 1,
}


def test_what_is_not_known_is_passed_over() -> None:
    seed = parse(TREE)
    assert seed.resolvers == ("10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert seed.domain == "ad.example"
    assert "once" not in repr(seed)


def test_a_later_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format 2"):
        parse({**TREE, "format": 2})


def test_what_is_missing_is_named() -> None:
    with pytest.raises(TypeError, match="realm"):
        parse({name: value for name, value in TREE.items() if name != "realm"})


def test_names_are_resolved_here_once_it_has_joined() -> None:
    before = files(parse(TREE), joined=False)["/etc/resolv.conf"]
    assert before == "search ad.example\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n"
    after = files(parse(TREE), joined=True)["/etc/resolv.conf"]
    assert after == "search ad.example\nnameserver 127.0.0.1\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n"


def test_the_address_goes_where_it_belongs() -> None:
    made = files(parse(TREE), joined=False)
    assert "Address=10.1.0.21/16\nGateway=10.1.0.1\n" in made["/etc/systemd/network/10-lan.network"]
    assert "10.1.0.21 br1.ad.example br1\n" in made["/etc/hosts"]
    assert made[f"{TLS}/key.pem"] == "secret"
    assert made["/etc/chrony/sources.d/branchline.sources"] == "server 10.0.0.1 iburst\n"


def test_a_network_without_a_gateway() -> None:
    seed = Seed(role="new", realm="AD.EXAMPLE", host="br1", site="S", address="10.1.0.21/16")
    assert "Gateway" not in files(seed, joined=False)["/etc/systemd/network/10-lan.network"]
