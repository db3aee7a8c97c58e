"""From configuration and bypass to what the kernel rules are made from."""

from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

import pytest
from msgspec.structs import replace

from appliance.bypass import Bypass
from appliance.config import Config, Rule, load
from appliance.config import Path as WanPath
from appliance.config.boxspec import box_spec
from appliance.config.values import Interface, Name, Prefix
from appliance.intercept.specs import RuleSpec
from appliance.intercept.statements import owners4

EXAMPLES = Path(__file__).parents[4] / "examples"


@pytest.fixture
def config() -> Config:
    return load(EXAMPLES / "branch.toml", files=False)


def test_the_example(config: Config) -> None:
    spec = box_spec(config, Bypass())
    assert (spec.lan, spec.own_ports) == (("lan0",), (4001,))
    assert (spec.prefixes4, spec.prefixes6) == ((IPv4Network("10.1.0.0/16"),), (IPv6Network("fd01::/48"),))
    (peer,) = spec.peers
    assert (peer.index, peer.id, peer.port4, peer.bypass, peer.closed) == (1, "dc", None, False, False)
    assert peer.rules == (
        RuleSpec(name="voice", index=0, action="pass", ports=((5060, 5061),)),
        RuleSpec(
            name="files",
            index=1,
            action="optimise",
            eager=True,
            ports=((80, 80), (139, 139), (445, 445), (2049, 2049)),
        ),
    )


def test_bypass_of_everything_a_peer_and_a_rule(config: Config) -> None:
    assert box_spec(config, Bypass(all=True)).peers[0].bypass
    assert box_spec(config, Bypass(peers=frozenset({"dc"}))).peers[0].bypass
    bypassed = box_spec(config, Bypass(rules=frozenset({"files"}))).peers[0]
    assert not bypassed.bypass
    assert [rule.bypass for rule in bypassed.rules] == [False, True]


def test_closed_is_the_rules_or_the_peers(config: Config) -> None:
    voice, files = config.rules
    opened = replace(files, name=Name("open"), on_failure="open")
    peer = replace(config.peers[0], on_failure="closed")
    spec = box_spec(replace(config, peers=(peer,), rules=(voice, files, opened)), Bypass())
    assert spec.peers[0].closed
    assert [rule.closed for rule in spec.peers[0].rules] == [False, True, False], "pass is never closed"
    closed = replace(config, rules=(replace(files, on_failure="closed"),))
    assert [rule.closed for rule in box_spec(closed, Bypass()).peers[0].rules] == [True]
    assert not box_spec(closed, Bypass()).peers[0].closed


def test_rules_are_narrowed_to_what_is_behind_the_peer(config: Config) -> None:
    dc = config.peers[0]
    dc2 = replace(dc, id=Name("dc2"), prefixes=(Prefix("10.3.0.0/16"),), paths=(WanPath(underlay="tunnel"),))
    some = Rule(name=Name("some"), prefixes=(Prefix("10.2.7.0/24"), Prefix("10.3.7.0/24")))
    only = Rule(name=Name("only"), peers=(Name("dc2"),))
    there = Rule(name=Name("there"), prefixes=(Prefix("10.2.8.0/24"),))
    spec = box_spec(replace(config, peers=(dc, dc2), rules=(some, only, there)), Bypass())
    first, second = spec.peers
    assert [rule.name for rule in first.rules] == ["some", "there"]
    assert [rule.name for rule in second.rules] == ["some", "only"], "nothing of `there` is behind dc2"
    assert first.rules[0].prefixes4 == (IPv4Network("10.2.7.0/24"),)
    assert second.rules[0].prefixes4 == (IPv4Network("10.3.7.0/24"),)
    assert second.rules[1].prefixes4 == ()
    assert (first.public, second.public) == ((), ("wan0",))


def test_a_tunnel_over_one_wan_leaves_the_other_to_plain_traffic(config: Config) -> None:
    two = replace(config, box=replace(config.box, wan=(Interface("wan0"), Interface("wan1"))))
    paths = (
        WanPath(name=Name("mpls"), interface=Interface("wan0")),
        WanPath(name=Name("internet"), interface=Interface("wan1"), underlay="tunnel"),
    )
    (peer,) = box_spec(replace(two, peers=(replace(two.peers[0], paths=paths),)), Bypass()).peers
    assert peer.public == ("wan1",)
    anywhere = (paths[0], replace(paths[1], interface=None))
    (peer,) = box_spec(replace(two, peers=(replace(two.peers[0], paths=anywhere),)), Bypass()).peers
    assert peer.public == ("wan0", "wan1")


def test_a_prefix_within_another_of_the_same_peer_wins_over_one_between_them(config: Config) -> None:
    nested = (Prefix("10.0.0.0/8"), Prefix("10.3.7.0/24"))
    dc = replace(config.peers[0], prefixes=nested)
    dc2 = replace(dc, id=Name("dc2"), prefixes=(Prefix("10.3.0.0/16"),))
    owned = owners4(box_spec(replace(config, peers=(dc, dc2)), Bypass()))
    for address, peer in (("10.9.9.9", "dc"), ("10.3.9.9", "dc2"), ("10.3.7.9", "dc")):
        assert [owner.id for prefix, owner in owned if ip_address(address) in prefix] == [peer]


def test_a_peer_that_is_not_to_be_optimised(config: Config) -> None:
    peer = replace(config.peers[0], optimise=False)
    spec = box_spec(replace(config, peers=(peer,)), Bypass()).peers[0]
    assert [(rule.action, rule.ports, rule.prefixes4) for rule in spec.rules] == [("pass", (), ())]
