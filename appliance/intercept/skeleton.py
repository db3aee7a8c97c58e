"""The constant part of the data plane's table: sets, maps and every chain but the peers' policy chains.

The packet's way through it is told in docs/INTERCEPTION.md. nft 1.0.6 wants a newline after `flags owner` and
before closing braces, and does not print a tproxy port that comes from a map: a listing fed back would lose it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from appliance.flows import reasons
from appliance.intercept import marks
from appliance.intercept.statements import FATE, SYN, pass_for, set_mark

TABLE: Final = "inet branchline"

# BGP: neighbours authenticate each other and count hops end to end.
NEVER_PORTS: Final = (179,)

# Passed for one of these, a destination that answers is worth learning.
LEARN_FROM: Final = (
    reasons.REFUSED,
    reasons.UNKNOWN_DESTINATION,
    reasons.PEER_DOWN,
    reasons.BYPASS,
    reasons.HEARTBEAT_LATE,
    reasons.FLOW_LIMIT,
    reasons.PEER_VERSION,
    reasons.MEMORY_LIMIT,
    reasons.CPU_LIMIT,
    reasons.PEER_LIMIT,
    reasons.PATH_DOWN,
    reasons.PEER_SILENT,
    reasons.DRAINING,
)

_LEARNABLE: Final = ", ".join(f"{number << marks.REASON_SHIFT:#x}" for number in LEARN_FROM)
_DELIVER: Final = f"meta mark set {marks.DELIVER} accept"
_NOT_OURS: Final = f"{FATE} {{ {marks.PASSED:#x}, {marks.FOREIGN:#x} }}"
_TPROXY4: Final = "meta l4proto tcp tproxy ip to 127.0.0.1:ip daddr map @listen4"
_TPROXY6: Final = "meta l4proto tcp tproxy ip6 to [::1]:ip6 daddr map @listen6"


def _set(name: str, kind: str, *properties: str) -> str:
    lines = "".join(f"\n    {line}" for line in (f"type {kind}", *properties))
    return f"  {'map' if ' : ' in kind else 'set'} {name} {{{lines}\n  }}\n"


_SETS: Final = "".join(
    (
        _set("active", "ifname", "flags timeout"),
        _set("lan", "ifname"),
        # Always empty: flushing it tells at little cost whether the table is still there.
        _set("pulse", "ifname"),
        _set("own", "inet_service"),
        _set("never", "inet_service", f"elements = {{ {', '.join(map(str, NEVER_PORTS))} }}"),
        *(
            _set(f"{name}{family}", f"ipv{family}_addr . inet_service", f"flags {flags}", "size 65536")
            for name, flags in (("refused", "timeout"), ("known", "dynamic,timeout\n    timeout 1h"))
            for family in (4, 6)
        ),
        *(
            _set(f"{name}{family}", f"ipv{family}_addr", "flags timeout", "size 65536")
            for name in ("asymmetric", "one_way")
            for family in (4, 6)
        ),
        *(
            _set(f"{name}{family}", f"ipv{family}_addr : {value}", "flags interval")
            for name, value in (("listen", "inet_service"), ("policy", "verdict"))
            for family in (4, 6)
        ),
    )
)


def table(part: int) -> str:
    """The name of a data process's table."""
    return TABLE if part == 1 else f"{TABLE}_{part}"


def skeleton(policy_chains: Iterable[str], part: int, *, shared: bool) -> str:
    """The table of data process `part` with its policy chains declared, all that the configuration decides still empty.

    `shared`: there are other processes, whose flows a table leaves alone.

    The policy chains must be declared here: libnftables moves the chains of a table block behind other commands of
    the same text, where a map element would jump to a chain that is not there yet.
    """
    declared = "\n".join(f"  chain {name} {{\n  }}\n" for name in policy_chains)
    text = _TEXT.replace("@POLICY_CHAINS@\n", declared)
    for place, (alone, among_others) in _PLACES.items():
        text = text.replace(f"{place}\n", among_others if shared else alone)
    return text.replace("@TABLE@", table(part)).replace("@GROUP@", str(marks.STALE_GROUP + part - 1))


# What differs where every data process has a table. The fate of a flow is one for all tables, and a SYN again is
# decided where its peer is. A table must not take what has no socket: its owner's table may be gone, and then control's
# resets it.
_PLACES: Final = {
    "@MINE@": (
        "",
        "".join(_set(f"mine{family}", f"ipv{family}_addr", "flags interval") for family in (4, 6)),
    ),
    "@ELSEWHERE@": (
        "",
        f"    {SYN} ip daddr != @mine4 accept\n    {SYN} ip6 daddr != @mine6 accept\n",
    ),
    "@REPLIES@": (f"    ct direction reply meta l4proto tcp {_DELIVER}\n", ""),
}


_TEXT: Final = f"""\
table @TABLE@ {{
  flags owner

{_SETS}
@MINE@
@POLICY_CHAINS@
  chain pre {{
    type filter hook prerouting priority mangle; policy accept;
    {FATE} vmap {{ {marks.PASSED:#x} : goto passed, {marks.FOREIGN:#x} : accept, \
{marks.INTERCEPTED:#x} : goto intercepted, {marks.FAR_SIDE:#x} : goto far }}
    meta l4proto != tcp accept
    {FATE} == 0 {SYN} goto fate
    tcp dport @own accept
    tcp sport @own accept
    # The last resort, for packets whose conntrack entry is missing, flushed or invalid. It must come after the
    # fate: it matches TIME_WAIT too and would take a passed flow's packets.
    meta l4proto tcp socket transparent 1 {_DELIVER}
  }}

  chain passed {{
    tcp flags & (fin|syn|rst|ack) == syn|ack ct mark & {marks.REASON_MASK:#x} {{ {_LEARNABLE} }} goto learn
  }}

  # A destination that was refused and now answers stays refused to its time: what failed may have been our
  # far side's connection, and then every other try would fail.
  chain learn {{
    update @known4 {{ ip saddr . tcp sport }}
    update @known6 {{ ip6 saddr . tcp sport }}
  }}

  # ICMP errors match the mark of the flow they are about. Without them path MTU discovery hangs.
  chain intercepted {{
    meta l4proto {{ icmp, ipv6-icmp }} {_DELIVER}
@ELSEWHERE@
    {SYN} iifname != @active goto hung
    {SYN} ip saddr @one_way4 goto one_way
    {SYN} ip6 saddr @one_way6 goto one_way
    {_TPROXY4} {_DELIVER}
    {_TPROXY6} {_DELIVER}
    # The listener is closed: open flows live on, new ones pass, orphans are reset by control's table.
    meta l4proto tcp socket transparent 1 {_DELIVER}
    {SYN} {pass_for(reasons.PEER_DOWN)}
  }}

  chain hung {{
    meta l4proto tcp socket transparent 1 {_DELIVER}
    {pass_for(reasons.HEARTBEAT_LATE)}
  }}

  chain far {{
    {SYN} goto stale
@REPLIES@
    meta l4proto {{ icmp, ipv6-icmp }} {_DELIVER}
    meta l4proto tcp socket transparent 1 {_DELIVER}
  }}

  chain one_way {{
    meta l4proto tcp socket transparent 1 {_DELIVER}
    {pass_for(reasons.ONE_WAY_CLIENT)}
  }}

  # A client with a fixed source port came back past its box while we hold its old connection. Marking the flow
  # passed and letting the SYN through is enough: the server's challenge ACK makes client and server agree.
  # The daemon, told by the log, only cleans up.
  chain stale {{
    log group @GROUP@ snaplen 128 queue-threshold 1
    {pass_for(reasons.STALE_TUPLE)}
  }}

  chain fate {{
    iifname != @lan accept
    # The box's own addresses may lie within a peer's wide prefix.
    fib daddr type local accept
    ip daddr vmap @policy4
    ip6 daddr vmap @policy6
  }}

  chain checks {{
    iifname != @active {pass_for(reasons.HEARTBEAT_LATE)}
    tcp dport @never {pass_for(reasons.NEVER_PORT)}
    tcp dport @own {pass_for(reasons.OWN_PORT)}
    ip daddr 169.254.0.0/16 {pass_for(reasons.LINK_LOCAL)}
    ip6 daddr fe80::/10 {pass_for(reasons.LINK_LOCAL)}
    ip6 saddr fe80::/10 {pass_for(reasons.LINK_LOCAL)}
    tcp option md5sig exists {pass_for(reasons.TCP_OPTION)}
    tcp option 29 exists {pass_for(reasons.TCP_OPTION)}
    tcp option mptcp exists {pass_for(reasons.TCP_OPTION)}
    ip saddr @one_way4 {pass_for(reasons.ONE_WAY_CLIENT)}
    ip6 saddr @one_way6 {pass_for(reasons.ONE_WAY_CLIENT)}
    ip daddr @asymmetric4 {pass_for(reasons.ASYMMETRIC_ROUTE)}
    ip6 daddr @asymmetric6 {pass_for(reasons.ASYMMETRIC_ROUTE)}
    ip daddr . tcp dport @refused4 {pass_for(reasons.REFUSED)}
    ip6 daddr . tcp dport @refused6 {pass_for(reasons.REFUSED)}
  }}

  chain take_known {{
    update @known4 {{ ip daddr . tcp dport }}
    update @known6 {{ ip6 daddr . tcp dport }}
    goto take
  }}

  # tproxy stands before the marks are set: with no listener the rule breaks off there and the flow passes.
  # The other way round it would be a black hole.
  chain take {{
    {_TPROXY4} {set_mark(marks.INTERCEPTED)} {_DELIVER}
    {_TPROXY6} {set_mark(marks.INTERCEPTED)} {_DELIVER}
    {pass_for(reasons.PEER_DOWN)}
  }}

  # Our transparent sockets are known by SO_MARK. On a flow that now passes they must keep quiet: a stale
  # socket's retransmission, or the RST of its removal, would kill the connection of the same tuple. The far side
  # marks a flow on its own SYN only; an entry without a fate is one that was flushed under a living socket.
  # What is out of the new connection's window is invalid, has no mark and goes out: the server ignores it, too.
  chain out {{
    type filter hook output priority mangle; policy accept;
    meta mark vmap {{ {marks.FAR_SOCKET:#x} : goto out_far, {marks.NEAR_SOCKET:#x} : goto out_near }}
  }}

  chain out_far {{
    {SYN} {set_mark(marks.FAR_SIDE)} accept
    {_NOT_OURS} counter drop
    {FATE} == 0 {set_mark(marks.FAR_SIDE)}
  }}

  chain out_near {{
    {_NOT_OURS} counter drop
    {FATE} == 0 {set_mark(marks.INTERCEPTED)}
  }}
}}
"""
