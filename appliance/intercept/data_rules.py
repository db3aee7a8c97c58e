"""The text of the data plane's nftables table, made from a BoxSpec. Pure: nothing here talks to the kernel.

The table is a constant skeleton plus the policy: `data_table` is both, `data_update` is the policy alone, so that
a reload replaces maps and policy chains in one transaction and leaves flows, `known`, `refused` and `active`
as they are.
"""

from __future__ import annotations

from collections.abc import Iterable

from appliance.flows import reasons
from appliance.intercept.skeleton import TABLE, skeleton
from appliance.intercept.specs import BoxSpec, PeerSpec, RuleSpec
from appliance.intercept.statements import add_elements, matches, owners4, owners6, pass_for


def data_table(spec: BoxSpec) -> str:
    """Everything, for a data plane that has no table yet."""
    return skeleton(policy_chain(peer.index) for peer in spec.peers) + "\n".join(_filling(spec)) + "\n"


def data_update(spec: BoxSpec, gone: Iterable[int] = ()) -> str:
    """Replaces policy, maps and interface sets; `gone` are indices of peers whose chains are to be removed.

    Applying it twice changes nothing. It must run on the netlink socket that owns the table.
    """
    lines = [f"flush map {TABLE} {name}" for name in ("policy4", "policy6", "listen4", "listen6")]
    lines += [f"flush set {TABLE} {name}" for name in ("lan", "own")]
    for peer in spec.peers:
        # Adding first makes flushing possible whether or not the peer was there.
        chain = f"{TABLE} {policy_chain(peer.index)}"
        lines += [f"add chain {chain}", f"flush chain {chain}"]
    lines += _filling(spec)
    lines += [f"delete chain {TABLE} {policy_chain(index)}" for index in gone]
    return "\n".join(lines) + "\n"


def _filling(spec: BoxSpec) -> list[str]:
    """Commands that put the policy into empty chains, maps and sets."""
    lines = add_elements(TABLE, "lan", (f'"{name}"' for name in spec.lan))
    lines += add_elements(TABLE, "own", map(str, sorted(set(spec.own_ports))))
    for peer in spec.peers:
        chain = f"{TABLE} {policy_chain(peer.index)}"
        lines += [f"add rule {chain} {rule}" for rule in policy(peer)]
    owned4, owned6 = owners4(spec), owners6(spec)
    for family, chains in (
        (4, [(str(prefix), peer.index, peer.port4) for prefix, peer in owned4]),
        (6, [(str(prefix), peer.index, peer.port6) for prefix, peer in owned6]),
    ):
        goes = (f"{prefix} : goto {policy_chain(index)}" for prefix, index, _ in chains)
        ports = (f"{prefix} : {port}" for prefix, _, port in chains if port is not None)
        lines += add_elements(TABLE, f"policy{family}", goes)
        lines += add_elements(TABLE, f"listen{family}", ports)
    return lines


def policy_chain(index: int) -> str:
    """The name of a peer's chain."""
    return f"policy_{index}"


def policy(peer: PeerSpec) -> list[str]:
    """The rules of one peer's chain: the first that matches decides."""
    if peer.bypass:
        return [pass_for(reasons.BYPASS)]
    lines = ["jump checks"]
    implicit = RuleSpec(name="", index=len(peer.rules), action="optimise", closed=peer.closed)
    for rule in (*peer.rules, implicit):
        for family, match in matches(rule):
            lines += [f"{match} {verdict}".strip() for verdict in _verdicts(peer, rule, family)]
    return lines


def _verdicts(peer: PeerSpec, rule: RuleSpec, family: str) -> list[str]:
    if rule.action == "pass":
        return [pass_for(reasons.RULE_PASS)]
    if rule.bypass:
        return [pass_for(reasons.BYPASS)]
    if peer.port4 is None and peer.port6 is None:
        return [pass_for(peer.down_reason)]
    if rule.eager or rule.closed:
        return ["goto take"]
    known = {
        "ip": "ip daddr . tcp dport @known4 goto take_known",
        "ip6": "ip6 daddr . tcp dport @known6 goto take_known",
    }
    # nft refuses a rule that names both families, so a match on one family asks only that family's set.
    asked = [known[family]] if family else list(known.values())
    return [*asked, pass_for(reasons.UNKNOWN_DESTINATION)]
