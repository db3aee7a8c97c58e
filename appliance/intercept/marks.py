"""The numbers that interception shares with the kernel: conntrack marks, packet marks, groups.

A flow's fate is the low byte of its conntrack mark; a passed flow's reason is the byte above it. The upper
half of the mark belongs to whoever else runs on the box, hence every match and every write is masked.
"""

from __future__ import annotations

from typing import Final

INTERCEPTED: Final = 0x77  # by the box nearest the client, which holds the client's connection
FAR_SIDE: Final = 0x78  # opened by the box nearest the server, in the client's name
PASSED: Final = 0x79  # between two sites, left alone, with a reason
FOREIGN: Final = 0x7A  # no peer's destination, or begun at the other site: not ours to decide

FATE_MASK: Final = 0xFF
REASON_SHIFT: Final = 8
REASON_MASK: Final = 0xFF00
OTHERS_MASK: Final = 0xFFFF0000

# Packet marks. DELIVER selects the routing table whose only route is "local": control installs the rule.
# The two others are SO_MARK of our transparent sockets; they are what the output chain recognises.
DELIVER: Final = 1
DELIVER_TABLE: Final = 100
NEAR_SOCKET: Final = INTERCEPTED
FAR_SOCKET: Final = FAR_SIDE

# NFLOG group that tells the daemon of stale tuples: any 16-bit number that no other logger took.
STALE_GROUP: Final = 0x4C42

# What the rules need of the kernel; control sets them (per network namespace).
# Early demultiplexing hands *forwarded* packets to a local transparent socket of the same tuple, TIME_WAIT
# included: a client that closes and comes back passed through would hang for ever. It covers IPv6 too.
SYSCTLS: Final[dict[str, str]] = {
    "net.ipv4.tcp_early_demux": "0",
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
    "net.netfilter.nf_conntrack_acct": "1",
    "net.ipv4.tcp_reflect_tos": "1",  # what answers a client carries the client's mark
    "net.ipv4.tcp_mtu_probing": "1",  # a way that swallows large packets without a word is found by trying
    "net.ipv4.tcp_min_rtt_wlen": "10",  # seconds; a way that became longer must not count as a queue for minutes
    "net.netfilter.nf_conntrack_timestamp": "1",
}


def passed(reason: int) -> int:
    """The mark of a flow passed for `reason` (0-255)."""
    return PASSED | reason << REASON_SHIFT


def reason_of(mark: int) -> int:
    """The reason in a passed flow's mark."""
    return (mark & REASON_MASK) >> REASON_SHIFT
