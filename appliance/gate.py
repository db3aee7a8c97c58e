"""Keeps a data plane within its limits: measures, decides (`admission`), and tells doors, peers and people.

It also lets a data plane run dry before it stops: new flows pass, and those that are open may end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from appliance import gauges
from appliance.admission import Admission, Load, Room, peers_reason, room
from appliance.config import Limits
from appliance.doors import Doors, Emit
from appliance.flows import reasons
from appliance.flows.buffers import Buffers
from appliance.loop import Loop
from appliance.peer import Peer

TICK_S = 0.25
ANY_NUMBER = 1 << 30  # of descriptors
PROGRESS_S = 5.0  # between two words on how far a drain is


class Gate:
    """`peers` is the data plane's own table."""

    def __init__(
        self,
        loop: Loop,
        buffers: Buffers,
        limits: Limits,
        peers: Mapping[str, Peer],
        doors: Doors,
        emit: Emit,
    ) -> None:
        self._loop = loop
        self._buffers = buffers
        self._peers = peers
        self._doors = doors
        self._emit = emit
        self._limits = limits
        self._gauges = gauges.Gauges(loop)
        self._descriptors = 0
        self._admission = Admission(self._room())
        self._told: dict[str, int | None] = {}
        self._judging = False
        self._drain: tuple[float, Callable[[], object], Callable[[], None]] | None = None
        self._progress_at = 0.0
        self._tick()

    def configure(self, limits: Limits) -> None:
        """Other limits, or other peers."""
        self._limits = limits
        self._admission.room = self._room()
        self._judge()

    def _room(self) -> Room:
        flows, peers = self._limits.flows, len(self._peers)
        wanted = room(flows, ANY_NUMBER, 0).utmost + gauges.for_others(peers)
        self._descriptors = gauges.raise_descriptors(wanted)
        return room(flows, self._descriptors - gauges.for_others(peers), int(self._limits.memory))

    @property
    def flows(self) -> int:
        """Open flows of all peers."""
        return sum(len(peer.flows) for peer in self._peers.values())

    def admits(self, peer: str) -> bool:
        """Whether there is room for one more flow of the peer; the last of it is for those that were on their way."""
        flows = self.flows
        if flows + 1 >= self._admission.room.flows and not self._judging:
            self._judging = True
            self._loop.at_end(self._judge)
        return flows < self._admission.most(len(self._peers[peer].flows))

    def full(self, peer: str) -> int | None:
        """Why this box takes no new flows of the peer, a number of `reasons`; None: it does."""
        return self._admission.reason(peer)

    def passing(self, peer: Peer) -> int | None:
        """Why new flows to the peer pass though it is up, on its account or on ours; None: they do not."""
        return self.full(peer.id) or (peers_reason(peer.full) if peer.attachment.up else None)

    def drain(self, seconds: float, going_on: Callable[[], object], over: Callable[[], None]) -> None:
        """Takes no new flows from now on; `over` is called when none is open any more, or after so many seconds; until
        then `going_on` is, again and again."""
        self._admission.draining = True
        self._drain = (self._loop.clock() + seconds, going_on, over)
        self._judge()
        self._follow_drain()

    def describe(self) -> dict[str, Any]:
        """For `status`."""
        sample, ends = self._gauges.sample, self._drain[0] if self._drain else None
        return {
            "flows": self.flows,
            "most_flows": self._admission.room.flows,
            "descriptors": self._descriptors,
            "busy": sample.busy,
            "turn_s": sample.turn,
            "unread": self._buffers.unread,
            "draining_until": time.time() + ends - self._loop.clock() if ends is not None else None,
        }

    def _tick(self) -> None:
        self._loop.call_later(TICK_S, self._tick)
        self._judge()
        self._follow_drain()

    def _judge(self) -> None:
        self._judging = False
        now = self._loop.clock()
        sample = self._gauges.read(now)
        flows = {peer_id: len(peer.flows) for peer_id, peer in self._peers.items()}
        unread = {peer_id: peer.buffers.unread for peer_id, peer in self._peers.items()}
        load = Load(flows, unread, sample.memory_left, sample.busy, sample.turn, self._doors.waiting())
        self._admission.judge(now, load)
        judged = {peer_id: self._admission.reason(peer_id) for peer_id in flows}
        changed = [peer_id for peer_id, reason in judged.items() if reason != self._told.get(peer_id)]
        if changed:
            before, self._told = self._told, judged
            self._doors.update()
            for peer_id in changed:
                self._peers[peer_id].tell_full()
            self._say(changed, before)
        self._told = judged

    def _say(self, changed: list[str], before: Mapping[str, int | None]) -> None:
        for reason in {self._told[peer_id] for peer_id in changed}:
            named = [peer_id for peer_id in changed if self._told[peer_id] == reason]
            everybody = len(named) == len(self._peers)
            to = "" if everybody else f" to {', '.join(named)}"
            subject = named[0] if len(named) == 1 else ""
            evidence = {"peers": named, **self.describe()}
            if reason is not None:
                text = f"new flows{to} pass through: {reasons.reason(reason).cause}"
                self._emit("flows.passing", "warning", subject, text, evidence)
            elif any(before.get(peer_id) for peer_id in named):
                self._emit("flows.taken", "info", subject, f"new flows{to} are optimised again", evidence)

    def _follow_drain(self) -> None:
        if self._drain is None:
            return
        deadline, going_on, over = self._drain
        now, flows = self._loop.clock(), self.flows
        if not flows or now >= deadline:
            self._drain = None
            over()
            return
        going_on()
        if now >= self._progress_at:
            self._progress_at = now + PROGRESS_S
            text = f"{flows} flows are still open; they have {deadline - now:.0f} s to end"
            self._emit("data.draining", "info", "", text, {"flows": flows, "seconds": deadline - now})
