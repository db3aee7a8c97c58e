"""Properties that the text of both tables must have whatever the configuration is."""

from __future__ import annotations

import dataclasses
import itertools
import re
from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.flows import reasons
from appliance.intercept import marks
from appliance.intercept.rules import data_table, data_update, fate_table
from appliance.intercept.specs import BoxSpec, PeerSpec, RuleSpec

nets4 = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(0x0A000000, 0x0AFFFFFF),
    st.integers(8, 32),
)
nets6 = st.builds(
    lambda address, length: IPv6Network((address, length), strict=False),
    st.integers(0xFD00 << 112, (0xFD01 << 112) - 1),
    st.integers(16, 128),
)
ports = st.tuples(st.integers(1, 65535), st.integers(0, 300)).map(
    lambda pair: (pair[0], min(sum(pair), 65535))
)
tuples4 = st.lists(nets4, max_size=3).map(tuple)
tuples6 = st.lists(nets6, max_size=3).map(tuple)
# Each example renders whole tables: thirty say what a hundred would.
few = settings(max_examples=30)
rule_specs = st.builds(
    RuleSpec,
    name=st.just("rule"),
    index=st.just(0),
    action=st.sampled_from(["optimise", "pass"]),
    eager=st.booleans(),
    ports=st.lists(ports, max_size=4).map(tuple),
    prefixes4=tuples4,
    prefixes6=tuples6,
    bypass=st.booleans(),
    closed=st.booleans(),
)
listening = st.none() | st.integers(1024, 65535)
peer_specs = st.builds(
    PeerSpec,
    index=st.just(0),
    id=st.just("peer"),
    prefixes4=tuples4,
    prefixes6=tuples6,
    port4=listening,
    port6=listening,
    rules=st.lists(rule_specs, max_size=3).map(tuple),
    bypass=st.booleans(),
    closed=st.booleans(),
    public=st.sampled_from([(), ("wan0",), ("wan0", "wan1")]),
    site=st.none() | st.lists(nets4 | nets6, max_size=3).map(tuple),
    elsewhere=st.lists(nets4 | nets6, max_size=3).map(tuple),
)


@st.composite
def box_specs(draw: st.DrawFn) -> BoxSpec:
    drawn = draw(st.lists(peer_specs, max_size=3))
    return BoxSpec(
        lan=("lan0", "lan1"),
        own_ports=(4001,),
        peers=tuple(dataclasses.replace(peer, index=index) for index, peer in enumerate(drawn, 1)),
        prefixes4=draw(tuples4),
        prefixes6=draw(tuples6),
    )


def peer(**fields: object) -> PeerSpec:
    whole: dict[str, object] = {
        "index": 1,
        "id": "dc",
        "prefixes4": (IPv4Network("10.2.0.0/16"),),
        "prefixes6": (IPv6Network("fd02::/48"),),
        "port4": 3131,
        "port6": 3132,
    }
    return PeerSpec(**{**whole, **fields})  # type: ignore[arg-type]


def box(*peers: PeerSpec) -> BoxSpec:
    return BoxSpec(("lan0",), (4001,), peers)


def chain(text: str, name: str) -> list[str]:
    """The rules of one chain, wherever they stand in the text."""
    block = re.search(rf"^  chain {name} {{\n(.*?)^  }}", text, re.MULTILINE | re.DOTALL)
    inside = [line.strip() for line in block[1].splitlines()] if block else []
    added = [line.partition(f" {name} ")[2] for line in text.splitlines() if line.startswith("add rule")]
    return [line for line in [*inside, *added] if line and not line.startswith(("#", "type filter"))]


def rules_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.strip().startswith("#")]


@few
@given(box_specs())
def test_every_mark_is_masked(spec: BoxSpec) -> None:
    """Whoever else uses the conntrack mark keeps its upper half."""
    for line in rules_of(data_table(spec) + data_update(spec) + fate_table(spec)):
        for use in re.findall(
            r"ct mark.*?(?=ct mark|$)", line.replace("ct mark set ct mark", "ct mark set it")
        ):
            assert re.match(
                r"ct mark (& 0x(ff|ff00|ffff) |set it and 0xffff0000 or 0x[0-9a-f]{2,4} )", f"{use} "
            ), line


@few
@given(box_specs())
def test_tproxy_comes_before_every_mark(spec: BoxSpec) -> None:
    """With no listener the rule must break off before it has marked anything."""
    lines = [line for line in rules_of(data_table(spec)) if "tproxy" in line]
    assert lines
    for line in lines:
        assert "mark" not in line[: line.index("tproxy")]
        assert f"meta mark set {marks.DELIVER} accept" in line[line.index("tproxy") :]


@few
@given(box_specs())
def test_the_fate_table_intercepts_nothing(spec: BoxSpec) -> None:
    assert not re.search(r"tproxy|socket|prerouting", fate_table(spec))


@few
@given(box_specs())
def test_a_set_never_holds_the_same_address_twice(spec: BoxSpec) -> None:
    """nft refuses overlapping intervals, and with them the whole table."""
    text = data_table(spec)
    for name in ("policy4", "policy6", "listen4", "listen6"):
        listed = re.search(rf"add element \S+ \S+ {name} {{ (.*) }}", text)
        networks = re.findall(r"(\S+) : ", listed[1]) if listed else []
        parsed = sorted(IPv4Network(each) if name.endswith("4") else IPv6Network(each) for each in networks)
        assert not any(one.overlaps(two) for one, two in itertools.pairwise(parsed))


@few
@given(box_specs(), box_specs())
def test_an_update_touches_policy_only(before: BoxSpec, after: BoxSpec) -> None:
    text = data_update(after, before)
    touched = set(re.findall(r"^(?:flush|add|delete) \S+ inet branchline (\S+)", text, re.MULTILINE))
    allowed = {"lan", "own", "policy4", "policy6", "listen4", "listen6"}
    assert all(name in allowed or re.fullmatch(r"policy_\d+", name) for name in touched)
    assert "table " not in text


@few
@given(box_specs())
def test_what_has_not_changed_is_not_touched(spec: BoxSpec) -> None:
    assert data_update(spec, spec) == ""


def test_an_update_removes_what_is_gone() -> None:
    two = peer(index=2, prefixes4=(IPv4Network("10.3.0.0/16"),), prefixes6=())
    text = data_update(box(peer()), box(peer(), two))
    assert text.splitlines()[-1] == "delete chain inet branchline policy_2"
    assert "policy_1 " not in text.replace("goto policy_1", "")


def test_the_table_of_one_process_leaves_the_flows_of_others_alone() -> None:
    other = peer(index=2, prefixes4=(IPv4Network("10.3.0.0/16"),), prefixes6=(), here=False)
    text = data_table(dataclasses.replace(box(peer(), other), part=2, shared=True))
    assert set(re.findall(r"inet branchline\S*", text)) == {"inet branchline_2"}
    assert "policy_2" not in text.replace("branchline_2 policy", "")
    assert "10.3." not in text
    intercepted = chain(text, "intercepted")
    alone = [at for at, rule in enumerate(intercepted) if "!= @mine" in rule]
    decided = [at for at, rule in enumerate(intercepted) if "ct mark set" in rule or "goto hung" in rule]
    assert len(alone) == 2
    assert max(alone) < min(decided)


def test_passed_packets_meet_two_rules() -> None:
    before_prerouting_ends, *_ = chain(data_table(box(peer())), "pre")
    assert before_prerouting_ends.startswith("ct mark & 0xff vmap { 0x79 : goto passed, 0x7a : accept")
    assert len(chain(data_table(box(peer())), "passed")) == 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"bypass": True}, [reasons.BYPASS]),
        ({"port4": None, "port6": None}, [reasons.PEER_DOWN]),
        ({"port4": None, "port6": None, "down_reason": reasons.FLOW_LIMIT}, [reasons.FLOW_LIMIT]),
        ({"full": reasons.CPU_LIMIT}, [reasons.CPU_LIMIT]),
        ({"full": reasons.CPU_LIMIT, "bypass": True}, [reasons.BYPASS]),
        ({}, [reasons.UNKNOWN_DESTINATION]),
        ({"closed": True}, []),
    ],
)
def test_why_a_peers_flows_pass(fields: dict[str, object], expected: list[int]) -> None:
    rules = chain(data_table(box(peer(**fields))), "policy_1")
    marked = [int(found, 16) for rule in rules for found in re.findall(r"or (0x\w+) accept", rule)]
    assert [marks.reason_of(mark) for mark in marked] == expected
    assert all(mark & marks.FATE_MASK == marks.PASSED for mark in marked)


def test_what_is_behind_a_peer_but_not_at_its_site_passes() -> None:
    grant, site, other = IPv4Network("10.0.0.0/8"), IPv4Network("10.2.0.0/15"), IPv4Network("10.3.0.0/16")
    mark = f"{marks.passed(reasons.SPOKE_TO_SPOKE):#x}"

    def passed(**fields: object) -> str:
        rules = chain(data_table(box(peer(prefixes4=(grant,), prefixes6=(), **fields))), "policy_1")
        return " ".join(rule for rule in rules if mark in rule)

    assert passed() == ""
    assert passed(site=(grant,)) == ""
    assert "10.3.0.0/16 }" in passed(site=(grant,), elsewhere=(other,))
    narrow = passed(site=(site,), elsewhere=(other,))
    assert "10.3.0.0/16" in narrow
    assert "128" in narrow  # 10.128.0.0/9, which nobody has announced
    assert "10.2.0.0/16" not in narrow
    assert "10.0.0.0/8" in passed(site=())


def test_rules_keep_their_order() -> None:
    first = RuleSpec("first", 0, "pass", ports=((80, 80),))
    second = RuleSpec("second", 1, "optimise", eager=True, ports=((80, 90), (85, 99), (100, 101)))
    rules = chain(data_table(box(peer(rules=(first, second)))), "policy_1")
    assert rules[0] == "jump checks"
    assert rules[1].startswith("tcp dport { 80 } ct mark set")
    assert rules[2] == "tcp dport { 80-101 } goto take"
    assert rules[-1].endswith(f"or {marks.passed(reasons.UNKNOWN_DESTINATION):#x} accept")


def test_a_rule_for_one_family_asks_one_family() -> None:
    narrow = RuleSpec("narrow", 0, "optimise", prefixes6=(IPv6Network("fd02:0:0:1::/64"),))
    rules = chain(data_table(box(peer(rules=(narrow,)))), "policy_1")
    assert rules[1] == "ip6 daddr { fd02:0:0:1::/64 } ip6 daddr . tcp dport @known6 goto take_known"
    assert not any("ip6 daddr {" in rule and "ip daddr" in rule for rule in rules)


def test_guards_are_only_where_something_is_closed() -> None:
    closed = RuleSpec("closed", 0, "optimise", ports=((80, 80),), closed=True)
    assert "guard_1" not in fate_table(box(peer()))
    assert chain(fate_table(box(peer(rules=(closed,)))), "guard_1") == [
        "tcp dport { 80 } goto shut",
        "return",
    ]
    assert "guard_1" not in fate_table(box(peer(rules=(closed,), bypass=True)))
    assert "guard_1" not in fate_table(box(peer(rules=(dataclasses.replace(closed, bypass=True),))))
    assert chain(fate_table(box(peer(closed=True))), "guard_1") == ["goto shut"]


def test_a_box_with_private_paths_pays_for_no_tunnel() -> None:
    assert len(chain(fate_table(box(peer())), "through")) == 2
    through = chain(fate_table(box(peer(public=("wan1",)))), "through")
    assert 'oifname "wan1" ip daddr @public4_0 goto plain' in through
    assert len(through) == 2 + 4
