"""Why a flow was left alone: the numbered table behind every pass-through.

The number is what the kernel keeps (bits 8-15 of the conntrack mark, see `appliance.intercept.marks`), so
numbers are never reused. `cause` completes "passed through because ..."; `remedy` tells an administrator
what to do, or that there is nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Reason:
    """One row: `number` 0-255, `name` as it appears in JSON, `cause` and `remedy` for people."""

    number: int
    name: str
    cause: str
    remedy: str


DATA_PLANE_DOWN: Final = 0
NOT_A_PEER: Final = 1
NEVER_PORT: Final = 2
TCP_OPTION: Final = 3
REFUSED: Final = 4
RULE_PASS: Final = 5
UNKNOWN_DESTINATION: Final = 6
PEER_DOWN: Final = 7
BYPASS: Final = 8
HEARTBEAT_LATE: Final = 9
OLDER_FLOW: Final = 10
FLOW_LIMIT: Final = 11
LINK_LOCAL: Final = 12
OWN_PORT: Final = 13
STALE_TUPLE: Final = 14
PEER_VERSION: Final = 15
ASYMMETRIC_ROUTE: Final = 16
SPOKE_TO_SPOKE: Final = 17
MEMORY_LIMIT: Final = 18
CPU_LIMIT: Final = 19
PEER_LIMIT: Final = 20
PATH_DOWN: Final = 21
PEER_SILENT: Final = 22
DRAINING: Final = 23
ONE_WAY_CLIENT: Final = 24

REASONS: Final[tuple[Reason, ...]] = (
    Reason(
        DATA_PLANE_DOWN,
        "data_plane_down",
        "the data plane was not running when the flow began",
        "See `branchline status` and the events for why it stopped; flows opened after its return are optimised.",
    ),
    Reason(
        NOT_A_PEER,
        "not_a_peer",
        "the destination is in no peer's prefixes",
        "Add the destination's prefix to the peer that serves it, if there is one.",
    ),
    Reason(
        NEVER_PORT,
        "never_port",
        "the port carries a routing protocol, whose neighbours must see each other",
        "Nothing to do.",
    ),
    Reason(
        TCP_OPTION,
        "tcp_option",
        "the client asked for TCP-MD5, TCP-AO or Multipath TCP, which a proxy would break",
        "Turn Multipath TCP off on the client if its flows should be optimised.",
    ),
    Reason(
        REFUSED,
        "refused",
        "a recent connection to this destination failed, so that the client now sees the network's own answer",
        "Check that the server answers; the destination is tried again after 30 seconds to an hour.",
    ),
    Reason(
        RULE_PASS,
        "rule_pass",
        "a rule of the configuration says pass",
        "Change the rule's `action` to `optimise` if these flows should be optimised.",
    ),
    Reason(
        UNKNOWN_DESTINATION,
        "unknown_destination",
        "no connection to this destination had been seen to succeed yet",
        "Nothing to do: the next flow is optimised. A rule with `eager = true` optimises from the first.",
    ),
    Reason(
        PEER_DOWN,
        "peer_down",
        "no session with the peer was up",
        "See `branchline peers` for the peer's state and the events for its last error.",
    ),
    Reason(
        BYPASS,
        "bypass",
        "an administrator switched bypass on",
        "Run `branchline bypass off` to optimise again.",
    ),
    Reason(
        HEARTBEAT_LATE,
        "heartbeat_late",
        "the data plane was running but did not answer in time",
        "If this lasts, look at the box's CPU load and the events; a hung data plane is restarted by itself.",
    ),
    Reason(
        OLDER_FLOW,
        "older_flow",
        "the flow was open before Branchline was",
        "Reopen the connection if it should be optimised.",
    ),
    Reason(
        FLOW_LIMIT,
        "flow_limit",
        "as many flows were open as `limits.flows` or the process's descriptors allow, or as are this peer's share",
        "Raise `limits.flows` (and the limit on open files, if `status` shows few descriptors), or add a second box.",
    ),
    Reason(
        LINK_LOCAL,
        "link_local",
        "an address of the flow is link-local",
        "Nothing to do.",
    ),
    Reason(
        OWN_PORT,
        "own_port",
        "the port is Branchline's own",
        "Choose another port in `listen` if a service of yours uses this one.",
    ),
    Reason(
        STALE_TUPLE,
        "stale_tuple",
        "the client came back with the same port, past its box, while its old connection was still held here",
        "Nothing to do: the old connection was dropped.",
    ),
    Reason(
        PEER_VERSION,
        "peer_version",
        "the peer speaks no protocol version that this box knows",
        "Update the older of the two boxes: `branchline peers` names it. They try again every half a minute.",
    ),
    Reason(
        ASYMMETRIC_ROUTE,
        "asymmetric_route",
        "the answers of this destination do not come back through the box that asked",
        "Route both directions through the boxes, or set `source` to `box` at the server's box; the "
        "destination is tried again after 30 seconds to an hour.",
    ),
    Reason(
        SPOKE_TO_SPOKE,
        "spoke_to_spoke",
        "the destination is at another branch, with which this box has no session of its own",
        "Nothing to do; make the two boxes peers of each other if they exchange much.",
    ),
    Reason(
        MEMORY_LIMIT,
        "memory_limit",
        "what end hosts did not read filled the peer's part of `limits.memory`, or the box was short of memory",
        "Raise `limits.memory`, or give the box more memory; the flows that are open go on.",
    ),
    Reason(
        CPU_LIMIT,
        "cpu_limit",
        "the box had no CPU time left: every flow waited long for its turn, or more came than could be taken",
        "Look at what else runs on the box; the flows that are open go on, and new ones are taken when it is over.",
    ),
    Reason(
        PEER_LIMIT,
        "peer_limit",
        "the peer's box had reached a limit of its own",
        "See `branchline status` and the events on the peer's box.",
    ),
    Reason(
        PATH_DOWN,
        "path_down",
        "no path to the peer was up",
        "Look at the WAN: `branchline peers` names the paths. The flows that are open wait and go on.",
    ),
    Reason(
        PEER_SILENT,
        "peer_silent",
        "the path was up, but the peer's data plane did not answer",
        "Look at the peer's box: its load, its events. The flows that are open wait and go on.",
    ),
    Reason(
        DRAINING,
        "draining",
        "this box or the peer's was finishing its open flows before a stop or restart",
        "Nothing to do: flows opened after the restart are optimised.",
    ),
    Reason(
        ONE_WAY_CLIENT,
        "one_way_client",
        "of what this client sends only the first packet comes through this box",
        "Look for a second router that the client uses, or an ICMP redirect to one, and route both directions through "
        "this box; the client is tried again after 30 seconds to an hour.",
    ),
)

_BY_NUMBER: Final = {reason.number: reason for reason in REASONS}


def reason(number: int) -> Reason:
    """The row of a number; a number of a later release gives a row that says so."""
    known = _BY_NUMBER.get(number)
    if known is not None:
        return known
    return Reason(number, f"reason_{number}", "a newer release decided so", "Update this box's command line.")


def of_peer(state: str) -> int:
    """The number for a peer whose `state` (see `appliance.lanes.standing`) is not "up"."""
    known = {"silent": PEER_SILENT, "path_down": PATH_DOWN, "other_version": PEER_VERSION}
    return known.get(state, PEER_DOWN)
