"""The text of the data plane's nftables table, made from a BoxSpec. Pure: nothing here talks to the kernel.

The table is a constant skeleton plus the policy: `data_table` is both, `data_update` is the policy alone, so that
a reload replaces maps and policy chains in one transaction and leaves flows, `known`, `refused` and `active`
as they are.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from appliance.flows import reasons
from appliance.intercept.prefixes import Network, disjoint
from appliance.intercept.skeleton import skeleton, table
from appliance.intercept.specs import BoxSpec, PeerSpec, RuleSpec
from appliance.intercept.statements import add_elements, matches, owners4, owners6, pass_for


def data_table(spec: BoxSpec) -> str:
    """Everything, for a data plane that has no table yet."""
    chains = _chains(spec)
    fill = _fill(table(spec.part), chains, _collections(spec))
    return skeleton(chains, spec.part, shared=spec.shared) + "\n".join(fill) + "\n"


def data_update(spec: BoxSpec, before: BoxSpec | None = None) -> str:
    """Makes the policy that of `spec` in one transaction; must run on the netlink socket that owns the table.

    With the spec that is in place, only what differs is replaced: an empty text when nothing does. Without it all is
    replaced, and applying the text twice changes nothing; chains of peers that are no longer there are then left over.
    """
    name_of_table = table(spec.part)
    chains, collections = _chains(spec), _collections(spec)
    gone: list[str] = []
    if before is not None:
        old_chains, old_collections = _chains(before), _collections(before)
        gone = [name for name in old_chains if name not in chains]
        chains = {name: rules for name, rules in chains.items() if old_chains.get(name) != rules}
        collections = {name: items for name, items in collections.items() if old_collections[name] != items}
    lines = [f"flush {kind} {name_of_table} {name}" for kind, name in collections]
    # Adding first makes flushing possible whether or not the peer was there.
    lines += [f"{verb} chain {name_of_table} {name}" for name in chains for verb in ("add", "flush")]
    lines += _fill(name_of_table, chains, collections)
    lines += [f"delete chain {name_of_table} {name}" for name in gone]
    return "".join(f"{line}\n" for line in lines)


def _fill(
    name_of_table: str, chains: dict[str, list[str]], collections: dict[tuple[str, str], list[str]]
) -> list[str]:
    """Commands that fill empty chains, sets and maps."""
    lines = [f"add rule {name_of_table} {name} {rule}" for name, rules in chains.items() for rule in rules]
    for (_, name), items in collections.items():
        lines += add_elements(name_of_table, name, items)
    return lines


def _chains(spec: BoxSpec) -> dict[str, list[str]]:
    """Rules of the policy chains by name."""
    return {policy_chain(peer.index): policy(peer) for peer in spec.peers if peer.here}


def _collections(spec: BoxSpec) -> dict[tuple[str, str], list[str]]:
    """Elements of the sets and maps by (kind, name)."""
    owned4 = [(prefix, peer) for prefix, peer in owners4(spec) if peer.here]
    owned6 = [(prefix, peer) for prefix, peer in owners6(spec) if peer.here]
    mine = {
        ("set", "mine4"): [str(prefix) for prefix, _ in owned4],
        ("set", "mine6"): [str(prefix) for prefix, _ in owned6],
    }
    return {
        **(mine if spec.shared else {}),
        ("set", "lan"): [f'"{name}"' for name in spec.lan],
        ("set", "own"): [str(port) for port in sorted(set(spec.own_ports))],
        ("map", "policy4"): [f"{prefix} : goto {policy_chain(peer.index)}" for prefix, peer in owned4],
        ("map", "policy6"): [f"{prefix} : goto {policy_chain(peer.index)}" for prefix, peer in owned6],
        ("map", "listen4"): [f"{prefix} : {peer.port4}" for prefix, peer in owned4 if peer.port4 is not None],
        ("map", "listen6"): [f"{prefix} : {peer.port6}" for prefix, peer in owned6 if peer.port6 is not None],
    }


def policy_chain(index: int) -> str:
    """The name of a peer's chain."""
    return f"policy_{index}"


def policy(peer: PeerSpec) -> list[str]:
    """The rules of one peer's chain: the first that matches decides."""
    if peer.bypass:
        return [pass_for(reasons.BYPASS)]
    lines = ["jump checks", *_elsewhere(peer)]
    implicit = RuleSpec(name="", index=len(peer.rules), action="optimise", closed=peer.closed)
    for rule in (*peer.rules, implicit):
        for family, match in matches(rule):
            lines += [f"{match} {verdict}".strip() for verdict in _verdicts(peer, rule, family)]
    return lines


def _elsewhere(peer: PeerSpec) -> list[str]:
    """Passes what is behind the peer, but not at its site. The longest prefix decides; of equal ones, elsewhere."""
    granted: tuple[IPv4Network | IPv6Network, ...] = (*peer.prefixes4, *peer.prefixes6)
    claims: list[tuple[IPv4Network | IPv6Network, bool]] = [(network, True) for network in peer.elsewhere]
    claims += [(network, False) for network in (granted if peer.site is None else peer.site)]
    claims += [(network, True) for network in granted]
    found = (("ip", _away(IPv4Network, claims)), ("ip6", _away(IPv6Network, claims)))
    return [
        f"{word} daddr {{ {networks} }} {pass_for(reasons.SPOKE_TO_SPOKE)}"
        for word, networks in found
        if networks
    ]


def _away(kind: type[Network], claims: list[tuple[IPv4Network | IPv6Network, bool]]) -> str:
    of_kind = [(network, away) for network, away in claims if isinstance(network, kind)]
    return ", ".join(str(network) for network, away in disjoint(of_kind) if away)


def _verdicts(peer: PeerSpec, rule: RuleSpec, family: str) -> list[str]:
    if rule.action == "pass":
        return [pass_for(reasons.RULE_PASS)]
    if rule.bypass:
        return [pass_for(reasons.BYPASS)]
    if peer.port4 is None and peer.port6 is None:
        return [pass_for(peer.down_reason)]
    if peer.full is not None:
        return [pass_for(peer.full)]
    if rule.eager or rule.closed:
        return ["goto take"]
    known = {
        "ip": "ip daddr . tcp dport @known4 goto take_known",
        "ip6": "ip6 daddr . tcp dport @known6 goto take_known",
    }
    # nft refuses a rule that names both families, so a match on one family asks only that family's set.
    asked = [known[family]] if family else list(known.values())
    return [*asked, pass_for(reasons.UNKNOWN_DESTINATION)]
