"""What an administrator decides: closed, tunnel, bypass, reloads."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

import pytest

from appliance.intercept import BoxSpec, RuleSpec
from appliance.lab import Lab
from appliance.lab.topology import WAN_ADDRESS
from tests.lab.plain_pair import (
    EAGER_PORT,
    FAMILIES,
    KNOWN_PORT,
    PASS_PORT,
    Echo,
    Pair,
    address_of,
    branch_spec,
    echoes,
    outcome,
    running,
    until,
)

BOTH = pytest.mark.parametrize("family", FAMILIES, ids=["v4", "v6"])
CLOSED_RULE = RuleSpec("closed", 0, "optimise", ports=((EAGER_PORT, EAGER_PORT),), closed=True)
PASS_RULE = RuleSpec("pass", 1, "pass", ports=((PASS_PORT, PASS_PORT),))


@pytest.fixture
def pair(lab: Lab) -> Iterator[Pair]:
    with running(lab) as pair:
        for family in FAMILIES:
            for port in (EAGER_PORT, KNOWN_PORT, PASS_PORT):
                pair.echo.listen(family, pair.server(family), port)
        yield pair


def plus(spec: BoxSpec, rule: RuleSpec) -> BoxSpec:
    """The same with one more rule, before all others."""
    peers = tuple(dataclasses.replace(peer, rules=(rule, *peer.rules)) for peer in spec.peers)
    return dataclasses.replace(spec, peers=peers)


@BOTH
def test_a_closed_rule_never_passes_plainly(pair: Pair, family: socket.AddressFamily) -> None:
    server = pair.server(family)
    pair.branch.update(branch_spec(rules=(CLOSED_RULE, PASS_RULE)))
    # From the first flow on, though it is not eager: a flow that teaches `known` would go plainly.
    assert outcome(pair, server, EAGER_PORT) == "echo"
    assert pair.branch.accepted == 1
    pair.branch.ask("shut", peer=1)
    assert outcome(pair, server, EAGER_PORT) == "ECONNREFUSED"
    assert outcome(pair, server, KNOWN_PORT) == "echo"
    pair.branch.kill()
    assert outcome(pair, server, EAGER_PORT) == "ECONNREFUSED"
    assert outcome(pair, server, PASS_PORT) == "echo"
    assert outcome(pair, server, KNOWN_PORT) == "echo"
    assert pair.branch.fate.counters()["closed"] == 2
    pair.branch.start()
    assert outcome(pair, server, EAGER_PORT) == "echo"
    assert pair.branch.accepted == 1


@BOTH
def test_a_closed_peer(pair: Pair, family: socket.AddressFamily) -> None:
    server = pair.server(family)
    pair.branch.update(branch_spec(closed=True, rules=(PASS_RULE,)))
    assert outcome(pair, server, KNOWN_PORT) == "echo"
    pair.branch.kill()
    assert outcome(pair, server, KNOWN_PORT) == "ECONNREFUSED"
    assert outcome(pair, server, PASS_PORT) == "echo"


@BOTH
def test_bypass_opens_what_is_closed(pair: Pair, family: socket.AddressFamily) -> None:
    """A bypass is no failure but an order; of the peer or of the rule, with the data plane alive or dead."""
    server = pair.server(family)
    bypassed = dataclasses.replace(CLOSED_RULE, bypass=True)
    for spec in (branch_spec(rules=(bypassed,)), branch_spec(rules=(CLOSED_RULE,), bypass=True)):
        pair.branch.update(spec)
        with pair.connect(server, EAGER_PORT) as sock:
            assert echoes(sock)
            assert pair.branch.reason(address_of(sock)) == "bypass"
        pair.branch.kill()
        assert outcome(pair, server, EAGER_PORT) == "echo"
        pair.branch.start()


@BOTH
def test_a_public_underlay_carries_nothing_plainly(pair: Pair, family: socket.AddressFamily) -> None:
    server = pair.server(family)
    pair.branch.update(branch_spec(public=("wan0",)))
    assert outcome(pair, server, EAGER_PORT) == "echo"
    assert pair.branch.accepted == 1
    assert outcome(pair, server, KNOWN_PORT) == "ECONNREFUSED"
    assert outcome(pair, server, PASS_PORT) == "ECONNREFUSED"
    with pair.lab.client.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((server, 53))
        sock.send(b"question")
        with pytest.raises(OSError) as raised:
            sock.recv(1)
        assert not isinstance(raised.value, TimeoutError)
    assert pair.branch.fate.counters()["plain"] >= 3


@BOTH
def test_nothing_comes_in_plainly_from_a_public_underlay(pair: Pair, family: socket.AddressFamily) -> None:
    pair.branch.update(branch_spec(public=("wan0",)))
    with (
        pair.lab.client.socket(family, socket.SOCK_DGRAM) as target,
        pair.lab.server.socket(family, socket.SOCK_DGRAM) as source,
    ):
        target.bind((pair.lab.client.address(family), 5000))
        source.sendto(b"hello", (pair.lab.client.address(family), 5000))
        assert until(lambda: pair.branch.fate.counters()["plain"] == 1)
        target.setblocking(False)
        with pytest.raises(BlockingIOError):
            target.recv(10)


@BOTH
def test_a_reload_leaves_flows_and_what_was_learnt_alone(pair: Pair, family: socket.AddressFamily) -> None:
    server = pair.server(family)
    assert outcome(pair, server, KNOWN_PORT) == "echo"
    assert outcome(pair, server, EAGER_PORT + 1) == "ECONNRESET"
    known = pair.branch.ask("known")
    assert [server, KNOWN_PORT] in known
    with pair.connect(server, EAGER_PORT) as taken, pair.connect(server, PASS_PORT) as passed:
        assert echoes(taken)
        spec = branch_spec()
        for changed in (
            plus(spec, RuleSpec("new", 2, "pass", ports=((EAGER_PORT, EAGER_PORT),))),
            dataclasses.replace(spec, peers=spec.peers[:1]),
            dataclasses.replace(spec, peers=()),
            spec,
        ):
            pair.branch.update(changed)
            assert echoes(taken)
            assert echoes(passed)
        assert pair.branch.ask("known") == known
    assert outcome(pair, server, EAGER_PORT + 1) == "ECONNREFUSED"  # still refused
    before = pair.branch.accepted
    assert outcome(pair, server, KNOWN_PORT) == "echo"
    assert pair.branch.accepted == before + 1


@BOTH
def test_the_first_rule_that_matches_decides(pair: Pair, family: socket.AddressFamily) -> None:
    server = pair.server(family)
    narrow = RuleSpec(
        "narrow",
        0,
        "pass",
        ports=((EAGER_PORT, EAGER_PORT),),
        prefixes4=(pair.branch.spec.peers[0].prefixes4 if family == socket.AF_INET else ()),
        prefixes6=(pair.branch.spec.peers[0].prefixes6 if family == socket.AF_INET6 else ()),
    )
    pair.branch.update(plus(branch_spec(), narrow))
    with pair.connect(server, EAGER_PORT) as sock:
        assert echoes(sock)
        assert pair.branch.reason(address_of(sock)) == "rule_pass"
    other = next(each for each in FAMILIES if each != family)
    before = pair.branch.accepted
    assert outcome(pair, pair.server(other), EAGER_PORT) == "echo"
    assert pair.branch.accepted == before + 1


@BOTH
def test_the_boxs_own_addresses_are_never_a_peers(pair: Pair, family: socket.AddressFamily) -> None:
    """An administrator in the branch reaches the box, though its WAN address lies in the peer's wide prefix."""
    own = WAN_ADDRESS["branch"][0 if family == socket.AF_INET else 1]
    wide = branch_spec(prefixes4=(IPv4Network("10.0.0.0/8"),), prefixes6=(IPv6Network("fd00::/8"),))
    pair.branch.update(dataclasses.replace(wide, peers=wide.peers[:1]))
    box = Echo(pair.lab.branch)
    box.listen(family, own, EAGER_PORT)
    try:
        with pair.connect(own, EAGER_PORT) as sock:
            assert echoes(sock)
            assert address_of(sock) in box.seen
        assert pair.branch.accepted == 0
        assert outcome(pair, pair.server(family), EAGER_PORT) == "echo"
        assert pair.branch.accepted == 1
    finally:
        box.close()
