"""Whether a lane is dead though its peer lives: a NAT has forgotten it, or nobody reads it at its other end."""

from __future__ import annotations

from appliance.lanes.lane import Lane
from appliance.lanes.link import Role

LOST = (
    40  # heartbeats without a word after a PING; a bulk lane, where answers wait longer, has twice as many,
)
BLOCKED = 600  # one whose link is slower than what it is given as many as this,
UNHEARD = 4  # and one on which not even the kernel answers only this part,
RTTS = 4  # and round trips for what is lost on the way to be sent again


def is_dead(lane: Lane, now: float, heartbeat: float, peer_heard: float) -> bool:
    """`peer_heard`: when the peer last said anything, over whichever lane."""
    if lane.unanswered >= now:
        return False
    since = max(lane.unanswered, lane.taken_at)
    usual = LOST * heartbeat * (2 if lane.role is Role.BULK else 1)
    patience = BLOCKED * heartbeat if lane.blocked else usual
    kernel = lane.kernel_view()
    if kernel.heard < since:
        patience = usual / UNHEARD + RTTS * kernel.rtt
    return now - since > patience and peer_heard > since
