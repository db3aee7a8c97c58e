"""The text of the table that control owns: it keeps every flow's fate, also while the data plane is dead.

Without it a retransmitted SYN could flip from passed to intercepted when the data plane starts, and after a
kill whose RST was lost a client's bytes would go on to the server's live connection of the same tuple.
Here, too, stands what must hold with the data plane dead: `on_failure = closed` and `underlay = tunnel`.
There is no tproxy in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from appliance.flows import reasons
from appliance.intercept import marks
from appliance.intercept.specs import BoxSpec, PeerSpec, RuleSpec
from appliance.intercept.statements import FATE, SYN, matches, owners4, owners6, pass_for, set_mark

FATE_TABLE: Final = "inet branchline_fate"

# Named counters of the table: SYNs reset because a rule is closed, packets refused because a path is public.
COUNTER_CLOSED: Final = "closed"
COUNTER_PLAIN: Final = "plain"

SMALL: Final = 1280  # bytes; what every link of the Internet carries (RFC 8200, section 5)


def fate_table(spec: BoxSpec) -> str:
    """The whole table as one transaction that replaces whatever version is there, at any time."""
    owned4, owned6 = owners4(spec), owners6(spec)
    guarded = [peer for peer in spec.peers if is_guarded(peer)]
    sets = [
        _set("set lan", "ifname", (f'"{name}"' for name in spec.lan)),
        _set("set peers4", "ipv4_addr", (str(prefix) for prefix, _ in owned4), interval=True),
        _set("set peers6", "ipv6_addr", (str(prefix) for prefix, _ in owned6), interval=True),
        *(
            _set(
                f"set public{family}_{number}",
                f"ipv{family}_addr",
                (str(p) for p, peer in owned if name in peer.public),
                interval=True,
            )
            for number, name in enumerate(_public(spec))
            for family, owned in ((4, owned4), (6, owned6))
        ),
        _set("set small4", "ipv4_addr", (str(p) for p, peer in owned4 if peer.small), interval=True),
        _set("set small6", "ipv6_addr", (str(p) for p, peer in owned6 if peer.small), interval=True),
    ]
    guards = [
        _set(
            f"map guard{family}",
            f"ipv{family}_addr : verdict",
            (f"{prefix} : jump guard_{peer.index}" for prefix, peer in owned if peer in guarded),
            interval=True,
        )
        for family, owned in (
            (4, [(str(prefix), peer) for prefix, peer in owned4]),
            (6, [(str(prefix), peer) for prefix, peer in owned6]),
        )
    ]
    chains = [_chain(f"guard_{peer.index}", _guard(peer)) for peer in guarded]
    return f"""\
add table {FATE_TABLE}
delete table {FATE_TABLE}
table {FATE_TABLE} {{
  counter {COUNTER_CLOSED} {{
  }}
  counter {COUNTER_PLAIN} {{
  }}
{"".join(sets)}\
{_CHAINS}\
{"".join(chains)}\
{"".join(guards)}\
{_chain("through", _through(_public(spec)), priority="mangle")}\
}}
"""


def is_guarded(peer: PeerSpec) -> bool:
    """Whether something of this peer may not pass."""
    return not peer.bypass and (peer.closed or any(rule.closed and not rule.bypass for rule in peer.rules))


def _public(spec: BoxSpec) -> list[str]:
    """WAN interfaces by which something may not leave plainly."""
    return sorted({name for peer in spec.peers for name in peer.public})


def _through(public: list[str]) -> list[str]:
    refusals = [
        rule
        for number, name in enumerate(public)
        for word, family in (("ip", 4), ("ip6", 6))
        for rule in (
            f'oifname "{name}" {word} daddr @public{family}_{number} goto plain',
            f'iifname "{name}" {word} saddr @public{family}_{number} counter name {COUNTER_PLAIN} drop',
        )
    ]
    return [
        *refusals,
        f"{SYN} goto opened",
        f"{FATE} vmap {{ {marks.PASSED:#x} : accept, {marks.FOREIGN:#x} : accept, "
        f"{marks.INTERCEPTED:#x} : goto orphan, {marks.FAR_SIDE:#x} : goto orphan, 0x0 : goto older }}",
    ]


def _guard(peer: PeerSpec) -> list[str]:
    """Resets what is closed. An administrator's bypass opens it again: that is not a failure."""
    implicit = RuleSpec(name="", index=len(peer.rules), action="optimise", closed=peer.closed)
    lines = []
    for rule in (*peer.rules, implicit):
        verdict = "goto shut" if rule.closed and not rule.bypass and rule.action == "optimise" else "return"
        lines += [f"{match} {verdict}".strip() for _, match in matches(rule)]
    return lines


def _chain(name: str, rules: Iterable[str], *, priority: str = "") -> str:
    head = f"    type filter hook forward priority {priority}; policy accept;\n" if priority else ""
    body = "".join(f"    {rule}\n" for rule in rules)
    return f"  chain {name} {{\n{head}{body}  }}\n"


def _set(name: str, kind: str, elements: Iterable[str], *, interval: bool = False) -> str:
    listed = ", ".join(elements)
    flags = "    flags interval\n" if interval else ""
    filled = f"    elements = {{ {listed} }}\n" if listed else ""
    return f"  {name} {{\n    type {kind}\n{flags}{filled}  }}\n"


_CHAINS: Final = "".join(
    (
        # What passes learns with its SYN and SYN-ACK how large its packets may be on both sides of this box, and does
        # not depend on ICMP. The kernel only lowers what is there. TCP-AO signs its options.
        _chain(
            "segments",
            [
                "tcp flags & (syn|rst) != syn accept",
                "tcp option 29 exists accept",
                "tcp option maxseg size set rt mtu",
                *(
                    f"{word} {end} @small{family} tcp option maxseg size set {SMALL - headers}"
                    for word, family, headers in (("ip", 4, 40), ("ip6", 6, 60))
                    for end in ("saddr", "daddr")
                ),
            ],
            priority="mangle + 1",
        ),
        # Whoever is still talking on a flow that no socket of ours holds any more is told so. A server that resets
        # what it has had from a client past this box tells the client itself.
        _chain(
            "orphan",
            [
                "ct direction reply tcp flags & rst == rst accept",
                "meta l4proto tcp reject with tcp reset",
            ],
        ),
        # A SYN that got as far as this passes. What the data plane decided, and why, stays.
        _chain(
            "opened",
            [
                "iifname @lan ip daddr vmap @guard4",
                "iifname @lan ip6 daddr vmap @guard6",
                f"{FATE} == {marks.PASSED:#x} accept",
                f"iifname @lan ip daddr @peers4 {pass_for(reasons.DATA_PLANE_DOWN)}",
                f"iifname @lan ip6 daddr @peers6 {pass_for(reasons.DATA_PLANE_DOWN)}",
                f"{set_mark(marks.FOREIGN)} accept",
            ],
        ),
        # Flows that were open before this table: marked once, so that they can be listed.
        _chain(
            "older",
            [
                "meta l4proto != tcp accept",
                f"iifname @lan ip daddr @peers4 {pass_for(reasons.OLDER_FLOW)}",
                f"iifname @lan ip6 daddr @peers6 {pass_for(reasons.OLDER_FLOW)}",
                f"iifname @lan {set_mark(marks.FOREIGN)} accept",
            ],
        ),
        # Passed on purpose, by a rule or an administrator, is not closed.
        _chain(
            "shut",
            [
                f"ct mark & {marks.FATE_MASK | marks.REASON_MASK:#x} "
                f"{{ {marks.passed(reasons.RULE_PASS):#x}, {marks.passed(reasons.BYPASS):#x} }} return",
                f"counter name {COUNTER_CLOSED} reject with tcp reset",
            ],
        ),
        _chain(
            "plain",
            [
                f"counter name {COUNTER_PLAIN}",
                "meta l4proto tcp reject with tcp reset",
                "reject with icmpx admin-prohibited",
            ],
        ),
    )
)
