"""A peer and a flow as `branchline peers` and `branchline flows` show them: plain values, bytes and seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from appliance.flows.flow import Flow
from appliance.lanes.attachment import Attachment
from appliance.lanes.lane import Lane
from appliance.lanes.link import Role
from appliance.lanes.path import PathLanes
from appliance.lanes.watch import Health
from appliance.peer import Peer

MOST_FLOWS = 200  # described in one go: 5 ms in which no other flow has its turn
_OF_LATE_S = 1.0


def describe(peer: Peer) -> dict[str, Any]:
    """The peer as `branchline peers` shows it; `since` is in the loop's time, rates in bytes."""
    attachment = peer.attachment
    carrying = [lane for _, lane in sorted(attachment.lanes.items())]
    lanes = [*carrying, *attachment.standby()]
    return {
        "id": peer.id,
        "state": attachment.state,
        "reason": attachment.reason if attachment.state != "up" else "",
        "since": attachment.since,
        "rtt_s": attachment.rtt,
        "paths": [_describe_path(attachment, path) for path in attachment.paths.values()],
        "switches": attachment.switches,
        "hedges": attachment.hedging.count,
        "lanes": [_describe_lane(lane, carries=lane in carrying) for lane in lanes],
        "prefixes": [str(prefix) for prefix in peer.config.prefixes],
        "announced": peer.sites.said.prefixes if peer.sites.said else [],
        "elsewhere": [str(network) for network in peer.sites.extent.elsewhere],
        "version": attachment.link.peer_version,
        "incarnation": attachment.link.peer_incarnation,
        "streams": len(peer.flows),
        "finished": peer.finished["flows"],
        "aborted": peer.finished["aborted"],
        "bad_blocks": peer.bad_blocks,
        "lan_in": peer.finished["lan_in"] + sum(flow.lan_in for flow in peer.flows.values()),
        "lan_out": peer.finished["lan_out"] + sum(flow.lan_out for flow in peer.flows.values()),
        "wan_in": attachment.lost_bytes[0] + sum(lane.bytes_in for lane in lanes),
        "wan_out": attachment.lost_bytes[1] + sum(lane.bytes_out for lane in lanes),
    }


def _describe_path(attachment: Attachment, path: PathLanes) -> dict[str, Any]:
    watch, config = attachment.choice.paths[path.name], path.config
    return {
        "name": path.name,
        "state": str(watch.health),
        "used": path.name == attachment.choice.used,
        "reason": path.reason if watch.health is not Health.UP else "",
        "remote": next((lane.remote for lane in path.lanes.values()), ""),
        "rtt_s": watch.rtt,
        "cost": config.cost,
        "rate": int(config.rate),
        "metered": config.metered,
        "small": path.small,
        "underlay": config.underlay,
    }


def _describe_lane(lane: Lane, *, carries: bool) -> dict[str, Any]:
    return {
        "name": lane.role.name.lower() if lane.role is not None else "",
        "path": lane.path,
        "carries": carries,
        "remote": lane.remote,
        "bytes_in": lane.bytes_in,
        "bytes_out": lane.bytes_out,
        "backlog": lane.backlog,
    }


def next_flows(
    peers: Mapping[str, Peer], after: Sequence[Any] | None, limit: int
) -> Iterator[tuple[Peer, Flow]]:
    """The next flows by peer and stream, at most MOST_FLOWS of them; `after` is [peer, stream] of the last one."""
    last_peer, last_stream = after or ("", -1)
    room = min(limit, MOST_FLOWS)
    for peer_id, peer in sorted(peers.items()):
        if peer_id < last_peer or room <= 0:
            continue
        streams = sorted(stream for stream in peer.flows if peer_id > last_peer or stream > last_stream)[
            :room
        ]
        room -= len(streams)
        yield from ((peer, peer.flows[stream]) for stream in streams)


def describe_flow(peer: Peer, flow: Flow) -> dict[str, Any]:
    """A flow as `branchline flows` shows it. `lane` is the one that carries what its end host says, now or of late."""
    application, end_host = flow.application, flow.end_host
    bulk = flow.pending or flow.blocks or peer.loop.now - flow.cut_at < _OF_LATE_S
    role = Role.BULK if flow.cut_at and bulk else Role.EXPRESS
    lane = peer.attachment.lanes.get(role)
    lan, wan = flow.lan_in + flow.lan_out, flow.wan_in + flow.wan_out
    return {
        "client": list(flow.client),
        "server": list(flow.server),
        "peer": peer.id,
        "stream": flow.stream,
        "kind": "optimised",
        "reason": "",
        "side": "client" if flow.accepted else "server",
        "state": flow.state,
        "rule": flow.rule,
        "dscp": flow.dscp,
        "application": application.name,
        "protection": application.protection,
        "guessed": not application.certain,
        "age_s": peer.loop.now - flow.began,
        "idle_s": end_host.idle if end_host else None,
        "lan_rtt_s": end_host.rtt if end_host else None,
        "wan_rtt_s": peer.rtt,
        "lane": role.name.lower(),
        "path": lane.path if lane else "",
        "reduction": 1 - wan / lan if lan else None,
        "lan_in": flow.lan_in,
        "lan_out": flow.lan_out,
        "wan_in": flow.wan_in,
        "wan_out": flow.wan_out,
    }
