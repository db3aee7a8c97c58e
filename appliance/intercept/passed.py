"""Flows that were left alone, read from conntrack, each with the reason in its mark.

The kernel filters by mark, so that a gateway's other connections cost nothing. Bytes and the beginning are known
where accounting and timestamps were on by then (`marks.SYSCTLS`). Reference: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import Final

from appliance.flows.reasons import Reason, reason
from appliance.intercept import marks, netlink
from appliance.intercept.listener import Endpoint

_GET: Final = 1 << 8 | 1
_TUPLE_ORIG: Final = 1
_PROTOINFO: Final = 4
_TIMEOUT: Final = 7
_MARK: Final = 8
_COUNTERS_ORIG, _COUNTERS_REPLY = 9, 10
_TIMESTAMP: Final = 20
_MARK_MASK: Final = 21
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_PROTO_NUM, _PROTO_SRC, _PROTO_DST = 1, 2, 3
_COUNTER_BYTES: Final = 2
_STARTED: Final = 1
_TCP: Final = 1
_TCP_STATE: Final = 1

_STATES: Final = (
    "none",
    "syn_sent",
    "syn_recv",
    "established",
    "fin_wait",
    "close_wait",
    "last_ack",
    "time_wait",
    "close",
    "syn_sent2",
)
_ENDED: Final = {"time_wait", "close"}


@dataclass(frozen=True)
class PassedFlow:
    """A flow that went by, seen from the box nearest the client."""

    client: Endpoint
    server: Endpoint
    reason: Reason
    bytes_up: int
    """From the client, with IP and TCP headers, as the kernel counts."""
    bytes_down: int
    state: str
    """Conntrack's TCP state, lower case."""
    expires: float
    """Seconds until conntrack forgets the flow if it stays silent."""
    began: float
    """Seconds since 1970; 0 when the kernel did not note it."""


def passed_flows(limit: int = 1000, *, ended: bool = False) -> list[PassedFlow]:
    """Up to `limit` passed flows, in no order; with `ended` also those that are over but still remembered.

    Raises OSError (EPERM without CAP_NET_ADMIN). Costs about 10 µs a flow.
    """
    flows: list[PassedFlow] = []
    mark = netlink.attribute(_MARK, struct.pack("!I", marks.PASSED))
    mask = netlink.attribute(_MARK_MASK, struct.pack("!I", marks.FATE_MASK))
    body = struct.pack("!BBH", socket.AF_UNSPEC, 0, 0) + mark + mask
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_NETFILTER) as sock:
        sock.send(netlink.message(_GET, netlink.REQUEST | netlink.DUMP, body))
        for entry in netlink.dump(sock):
            if len(flows) >= limit:
                break  # closing the socket ends the dump
            flow = parse(entry[4:])
            if flow is not None and (ended or flow.state not in _ENDED):
                flows.append(flow)
    return flows


def parse(entry: bytes) -> PassedFlow | None:
    """A conntrack entry without its netfilter header; None when it is no TCP flow that was passed."""
    fields = netlink.attributes(entry)
    mark = int.from_bytes(fields.get(_MARK, b""), "big")
    ends = _ends(fields.get(_TUPLE_ORIG, b""))
    if ends is None or mark & marks.FATE_MASK != marks.PASSED:
        return None
    tcp = netlink.attributes(netlink.attributes(fields.get(_PROTOINFO, b"")).get(_TCP, b""))
    state = int.from_bytes(tcp.get(_TCP_STATE, b""), "big")
    return PassedFlow(
        client=ends[0],
        server=ends[1],
        reason=reason(marks.reason_of(mark)),
        bytes_up=_bytes(fields.get(_COUNTERS_ORIG, b"")),
        bytes_down=_bytes(fields.get(_COUNTERS_REPLY, b"")),
        state=_STATES[state] if state < len(_STATES) else f"state_{state}",
        expires=float(int.from_bytes(fields.get(_TIMEOUT, b""), "big")),
        began=int.from_bytes(netlink.attributes(fields.get(_TIMESTAMP, b"")).get(_STARTED, b""), "big") / 1e9,
    )


def _ends(data: bytes) -> tuple[Endpoint, Endpoint] | None:
    fields = netlink.attributes(data)
    addresses = netlink.attributes(fields.get(_TUPLE_IP, b""))
    ports = netlink.attributes(fields.get(_TUPLE_PROTO, b""))
    if ports.get(_PROTO_NUM) != bytes([socket.IPPROTO_TCP]):
        return None
    source, target = (addresses.get(kind) for kind in ((3, 4) if 3 in addresses else (1, 2)))
    if source is None or target is None:
        return None
    client, server = (str(ipaddress.ip_address(address)) for address in (source, target))
    sport, dport = (int.from_bytes(ports.get(kind, b""), "big") for kind in (_PROTO_SRC, _PROTO_DST))
    return (client, sport), (server, dport)


def _bytes(data: bytes) -> int:
    return int.from_bytes(netlink.attributes(data).get(_COUNTER_BYTES, b""), "big")
