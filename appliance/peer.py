"""All state of one peer: its association, sessions, chunk caches and flows.

Nothing here is shared with another peer but the loop, the codec's thread and the pool of read buffers, so that
peers can be spread over several processes.
"""

from __future__ import annotations

import errno
import math
import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING

import dedupe
from appliance import marking
from appliance.box import Box
from appliance.config.schema import Peer as PeerConfig
from appliance.events import Severity
from appliance.flows import policy, reasons
from appliance.flows.crowd import Crowd
from appliance.flows.flow import Carrier, Flow
from appliance.flows.returns import ASK_S, Returns
from appliance.flows.stream import FIRST_CREDIT
from appliance.lanes import frames
from appliance.lanes.acknowledging import Acknowledging
from appliance.lanes.attachment import Attachment
from appliance.lanes.bulk import BulkReceiver, BulkSender
from appliance.lanes.frames import (
    FIN,
    FULL_FEATURE,
    SITE_FEATURE,
    Address,
    Hello,
    Kind,
    Open,
    ProtocolError,
    Site,
)
from appliance.lanes.link import Link, Role
from appliance.lanes.session import Sender
from appliance.lanes.sounding import FEATURE, Sounding
from appliance.loop import Timer
from appliance.site import Sites
from appliance.traffic import PART, Class, priority

if TYPE_CHECKING:
    import socket

    from appliance.lanes.lane import Lane

SOUNDINGS_S = (0.0, 0.05)  # after being asked: one may be late for a loss
CROWD_S = 0.01  # small frames of a crowd wait this long for each other,
OPEN_S = 0.001  # and an OPEN this long for its flow's first bytes, where the way is far longer
EXPRESS_HELD = (
    8 << 20
)  # bytes of memory in unacknowledged messages at which flows take the bulk session instead,
# which holds up whoever sends: so a path may be down for long, and this is never much exceeded
YOUNG_S = 0.25  # a flow that has just been opened; later ones are somebody's conversation
FAR_S = 0.002  # a round trip beside which compressing a message well takes no time
LITTLE = 64 << 10  # bytes that are rather sent twice than waited for
MOST_HELD = 4 * EXPRESS_HELD  # only a peer that takes messages and acknowledges none comes so far
MOST_BAD_BLOCKS = (
    256  # in a row; a log that differs is refused block by block until the NAKs have told the peer
)
TELL_AGAIN_S = 1.0  # a peer that opens streams all the same has not heard it
NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
REST_S = 10.0  # without a flow, after which a peer gives back what only flows need
MOST_DOMAINS = 8  # cache domains that one peer may use


class Peer:
    def __init__(
        self, box: Box, config: PeerConfig, context: ssl.SSLContext, domains: frozenset[int]
    ) -> None:
        """`domains` are the cache domains that this box's rules name for the peer; 0 is always there."""
        self.box = box
        self.config = config
        self.id = str(config.id)
        self.loop = box.loop
        self.worker = box.worker.queue()
        self.buffers = box.buffers.share()
        self.flows: dict[int, Flow] = {}
        self.finished = {"flows": 0, "aborted": 0, "lan_in": 0, "lan_out": 0}
        self.bad_blocks = 0
        link = Link(box.id, box.incarnation, self.id, config.dials)
        self.attachment = Attachment(box.loop, link, self, config.paths, context, box.heartbeat)
        self._caches: dict[int, dedupe.Cache] = {}
        self.full = 0  # why the peer takes no new flows: a number of `reasons`, 0 if it does
        self._told_full = (0, -math.inf)  # what it was told of this box, and when
        self.sites = Sites()
        self.configure(config, domains)
        self._agreed: frozenset[int] = frozenset()  # domains that both boxes have
        self._express: Sender[bytes] = Sender()
        self._overdue = False
        self._acks = Acknowledging(box.loop, self.attachment.send)
        self._bulk = BulkSender(self)
        self._blocks = BulkReceiver(self)
        self._sounding = Sounding(box.loop)
        self._crowd = Crowd()
        self._returns = Returns(box.loop, lambda server: box.dial(server, server, "box"), self._asymmetric)
        self._next_stream = 0 if config.dials else 1
        self._opened_by_peer = -1
        self._bad_in_a_row = 0
        self._credit = FIRST_CREDIT
        self._expiry: Timer | None = None
        self._rest: Timer | None = None

    def configure(self, config: PeerConfig, domains: frozenset[int]) -> None:
        """Takes over what may change while flows go on. A new cache domain is used from the next association on."""
        if config.paths != self.config.paths:
            self.attachment.configure(config.paths)
        self.config = config
        self._announce()
        self._hear(self.sites.said)
        for domain in sorted({0, *domains} - self._caches.keys()):
            if len(self._caches) < MOST_DOMAINS:
                self._caches[domain] = self.box.open_cache(self.id, int(config.cache), domain)
        self._classify()

    def _classify(self) -> None:
        """Tells the kernel what it is that each lane carries."""
        for lane in (*self.attachment.lanes.values(), *self.attachment.standby()):
            self.greeted(lane)

    def greeted(self, lane: Lane) -> None:
        """A lane is there; what it will carry is known."""
        path = self.config.path(lane.path)
        traffic = Class.EXPRESS if lane.role is Role.EXPRESS else Class.BULK
        lane.shape(priority(self.box.number(self.id), traffic), round(path.rate * PART) if path else 0)
        lane.rider = self._ride if lane.role is Role.EXPRESS else None

    def take_cache(self, domain: int, cache: dedupe.Cache) -> bool:
        """A cache in place of the one that is used; False while flows would be broken off by that."""
        if self.flows:
            return False
        self.attachment.restart("another chunk cache is used from now on")
        self.box.close_cache(self._caches[domain])
        self._caches[domain] = cache
        return True

    @property
    def path(self) -> str:
        """Name of the path that carries the peer's sessions."""
        return self.attachment.choice.used or "wan"

    def sound(self) -> list[float]:
        """Depths of the queue towards the peer that it has told since the last call, in seconds; asks for the next."""
        lane, hello = self.attachment.lanes.get(Role.EXPRESS), self.attachment.hello
        if lane is not None and hello is not None and FEATURE in hello.features:
            for soon in SOUNDINGS_S:
                self.loop.call_later(soon, lambda: self._sounding.ask(lane))
        return self._sounding.answers()

    @property
    def rtt(self) -> float:
        return self.attachment.rtt

    def start(self) -> None:
        self.attachment.start()

    def close(self, reason: str) -> None:
        for flow in list(self.flows.values()):
            flow.abort(reason, tell=False)
        self.attachment.close(reason)
        self._acks.close()
        self.buffers.holds(0)
        if self._rest is not None:
            self._rest.cancel()
        self._bulk.reset()
        self._blocks.reset()
        self.worker.drain()
        for cache in self._caches.values():
            self.box.close_cache(cache)
        self._caches.clear()

    def accept(self, sock: socket.socket, client: Address, server: Address, rule: policy.Match) -> None:
        """A flow that was intercepted here: opens its stream without waiting for the far side."""
        stream = self._next_stream
        self._next_stream += 2
        domain, store = self._treatment(rule.domain, rule.store)
        self._crowd.enter(self.loop.now)
        if rule.dscp is None:
            dscp = marking.read(sock)
        else:
            dscp = rule.dscp
            marking.write(sock, dscp)
        opening = frames.open_stream(Open(stream, client, server, domain, store, dscp))
        self.flows[stream] = Flow(
            self,
            sock,
            stream,
            client,
            server,
            connecting=False,
            credit=(self._credit, FIRST_CREDIT),
            window=int(self.box.limits.flow_buffer),
            domain=domain,
            store=store,
            rule=rule.name,
            dscp=dscp,
        )
        self._send(opening, patience=self._patience() or (OPEN_S if self.rtt > FAR_S else 0.0))

    def _treatment(self, domain: int, store: bool) -> tuple[int, bool]:
        """A flow whose domain only one box has is compressed, and neither stored nor compared with anything."""
        return (domain, store) if domain in self._agreed else (0, False)

    # What a flow asks of its carrier.

    @property
    def congested(self) -> bool:
        """So many messages are unacknowledged that flows take the bulk session instead."""
        return self._express.held_bytes > min(EXPRESS_HELD, self.buffers.room)

    def flow_message(self, flow: Flow, offset: int, flags: int, data: bytes) -> None:
        frame = frames.data(
            flow.stream, offset, flags, dedupe.pack(data, dense=self.rtt > FAR_S) if data else b""
        )
        flow.wan_out += len(frame)
        self._send(frame, patience=self._patience() if self.loop.now - flow.began < YOUNG_S else 0.0)

    def flow_bulk(self, flow: Flow) -> None:
        self._bulk.offer(flow)

    def flow_block(self, flow: Flow) -> int:
        return self._bulk.block_size(flow)

    def flow_credit(self, flow: Flow, credit: int) -> None:
        self._send(frames.credit(flow.stream, credit), patience=self._patience())

    def _patience(self) -> float:
        return CROWD_S if self._crowd.at(self.loop.now) else 0.0

    def flow_refused(self, flow: Flow, number: int) -> None:
        self._send(frames.failed(flow.stream, number))
        self._forget(flow, "aborted")

    def flow_finished(self, flow: Flow) -> None:
        self._forget(flow, "flows")

    def flow_aborted(self, flow: Flow, tell: bool) -> None:
        if tell:
            self._send(frames.reset(flow.stream))
        self._forget(flow, "aborted")

    def _forget(self, flow: Flow, outcome: str) -> None:
        if self.flows.pop(flow.stream, None) is not None:
            self.finished[outcome] += 1
            self.finished["lan_in"] += flow.lan_in
            self.finished["lan_out"] += flow.lan_out
            self._bulk.forget(flow.stream)
            self._blocks.forget(flow.stream)
            if not self.flows and self._rest is None:
                self._rest_later()

    def _rest_later(self) -> None:
        at = self.progress()
        self._rest = self.loop.call_later(REST_S, lambda: self._rest_if_idle(at))

    def _rest_if_idle(self, at: int) -> None:
        """A hub has many peers, most of them idle: they keep no memory that only flows need."""
        self._rest = None
        if self.flows:
            return
        if self.progress() != at:
            self._rest_later()  # what flows have left behind still arrives
            return
        self._blocks.rest()
        self.box.rest(list(self._caches.values()))

    def _send(self, frame: bytes, *, patience: float = 0.0) -> None:
        number = self._express.push(frame)
        self.buffers.holds(self._express.held_bytes)
        held = self._express.sent - self._express.acknowledged
        if self._express.held_bytes > MOST_HELD and not self._overdue:
            self._overdue = True
            reason = f"{held} messages are not acknowledged"
            self.loop.at_end(lambda: self.attachment.restart(reason))
        lane = self.attachment.lanes.get(Role.EXPRESS)
        if lane is not None:
            lane.send(frame, patience=patience)
        self.attachment.hedging.push(number, frame)

    # What the lanes tell.

    def greeting(self) -> Hello:
        site = self.sites.own
        return Hello(
            version=0,
            oldest=0,
            box="",
            incarnation=0,
            association=[],
            role=0,
            prefixes=site.prefixes,
            elsewhere=site.elsewhere,
            next_key=site.next_key,
            accepts=site.accepts,
            offers={str(domain): cache.offer() for domain, cache in self._caches.items()},
            credit=FIRST_CREDIT,
        )

    def announced(self, site: Site) -> None:
        """The peer's word on its own site."""
        if site != self.sites.said:
            self._hear(site)
            self.box.peer_changed(self)

    def _announce(self) -> None:
        """The next HELLO says what this box's site is; a peer that is up is told at once."""
        site, hello = self.box.site(self.id), self.attachment.hello
        if self.sites.announce(site) and hello is not None and SITE_FEATURE in hello.features:
            self.attachment.send(Role.EXPRESS, frames.site(site))

    def _hear(self, site: Site | None) -> None:
        refused = self.sites.hear(self.config.prefixes, site)
        if refused:
            text = f"it announces {', '.join(refused)}, which it was not granted; that counts for nothing"
            self.tell("peer.prefixes", "warning", text, {"refused": refused})

    def begin(self, hello: Hello) -> None:
        """A new association: whatever there was before is over."""
        self.end("a new association has begun")
        self._credit = max(0, min(hello.credit, FIRST_CREDIT))
        self.full = 0
        self._agreed = frozenset(domain for domain in self._caches if str(domain) in hello.offers)
        for domain in self._agreed:
            try:
                self._caches[domain].accept(hello.offers[str(domain)])
            except dedupe.OfferError as error:
                raise ProtocolError(f"the peer's list of cached ranges: {error}") from error
        if 0 not in self._agreed:
            raise ProtocolError("the peer offers no chunk cache for domain 0")
        self.box.prepare([self._caches[domain] for domain in sorted(self._agreed)])

    def arrived(self, role: Role) -> int:
        """Session frames that have arrived, which is where the peer goes on over another lane."""
        return self._acks.arrived(role)

    def resume(self, role: Role, received: int) -> list[bytes]:
        sender = self._express if role is Role.EXPRESS else self._bulk.session
        # The last acknowledgement may have been lost with its lane.
        return [*self._fullness(role), *sender.resume(received), self._acks.announce(role)]

    def little(self, role: Role) -> tuple[int, list[bytes]] | None:
        """The number of the first frame that is not acknowledged, and all from there on, if they are not many bytes."""
        sender = self._express if role is Role.EXPRESS else self._bulk.session
        if sender.held_bytes > LITTLE:
            return None
        again = [*self._fullness(role), *sender.resume(sender.acknowledged), self._acks.announce(role)]
        return sender.acknowledged, again

    def unacknowledged(self, received: int) -> tuple[int, list[bytes]] | None:
        """The express session's frames that the peer has not taken, if they are not many bytes, and the first one's
        number. It says that it has received so many."""
        sender = self._express
        if sender.held_bytes > LITTLE:
            return None
        first = max(received, sender.acknowledged)
        return first, list(sender.resume(first))

    def _fullness(self, role: Role) -> list[bytes]:
        """What is no frame of a session, and may have been lost with a lane."""
        hello = self.attachment.hello
        if role is not Role.EXPRESS or hello is None or FULL_FEATURE not in hello.features:
            return []
        self._told_full = (self.box.full(self.id), self.loop.now)
        return [frames.full(self._told_full[0])]

    def tell_full(self) -> None:
        """Tells the peer whether flows are taken here, if it does not know."""
        if self.box.full(self.id) != self._told_full[0]:
            for frame in self._fullness(Role.EXPRESS):
                self.attachment.send(Role.EXPRESS, frame)

    def filled(self, reason: int) -> None:
        """The peer takes no new flows from now on, or takes them again."""
        if reason == self.full:
            return
        self.full = reason
        if reason:
            name = reasons.reason(reason).name
            self.tell("peer.full", "warning", f"it takes no new flows: {name}; they pass", {"reason": name})
        else:
            self.tell("peer.taking", "info", "it takes new flows again", {})
        self.box.peer_changed(self)

    def end(self, reason: str) -> None:
        self.worker.drain()  # a block in the codec's hands belongs to the old logs
        for flow in list(self.flows.values()):
            flow.abort(reason, tell=False)
        self._express = Sender()
        self.buffers.holds(0)
        self._overdue = False
        self._acks.begin_anew()
        self._bulk.reset()
        self._blocks.reset()
        self._opened_by_peer = -1

    def changed(self, state: str, reason: str) -> None:
        severity: Severity = "info" if state == "up" else "warning"
        text = f"peer {self.id} is {state}" + (f": {reason}" if reason else "")
        evidence = {"flows": len(self.flows), "rtt_s": self.rtt}
        self.box.emit(f"peer.{state}", severity, self.id, text, evidence)
        if state == "up" and self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if state != "up" and self._expiry is None:
            hold = float(self.box.limits.stream_hold)
            self._expiry = self.loop.call_later(
                hold, lambda: self._expire(f"it did not come back within {hold:.0f} s")
            )
        self.box.peer_changed(self)

    def _expire(self, reason: str) -> None:
        self._expiry = None
        self.attachment.expire(reason)

    def tell(self, kind: str, severity: Severity, text: str, evidence: dict[str, object]) -> None:
        self.box.emit(kind, severity, self.id, f"peer {self.id}: {text}", evidence)

    def drained(self) -> None:
        self._bulk.pump()

    def sounded(self, lane: Lane, kind: int, body: bytes) -> None:
        self._sounding.take(lane, kind, body)

    def take(self, role: Role, kind: int, body: bytes) -> None:
        if role is Role.BULK:
            self._blocks.take(kind, body)
        elif kind == Kind.ACK:
            self._express.acknowledge(frames.read_numbers(body, 1)[0])
            self.buffers.holds(self._express.held_bytes)
        else:
            self._frame(kind, body)
            self._acks.took(role, len(body))
        if kind != Kind.ACK:
            self._acks.arrive(role)  # not what is refused: it may come again, whole

    def progress(self) -> int:
        return self._acks.progress()

    def _ride(self, lane: Lane) -> list[bytes]:
        """What an express frame that is leaving takes along."""
        if self.attachment.lanes.get(Role.EXPRESS) is not lane:
            return []
        return [*self._sounding.due(lane), *self._acks.ride()]

    # Frames of the sessions.

    def _frame(self, kind: int, body: bytes) -> None:
        if kind == Kind.DATA:
            stream, offset, flags, payload = frames.read_data(body)
            try:
                data = dedupe.unpack(payload, frames.MAX_MESSAGE) if payload else b""
            except dedupe.BadBlock as error:
                raise ProtocolError(f"a message on stream {stream}: {error}") from error
            flow = self.flows.get(stream)
            if flow is not None:
                flow.wan_in += len(body)
                self.deliver(flow, offset, data, bool(flags & FIN))
        elif kind == Kind.CREDIT:
            stream, credit = frames.read_numbers(body, 2)
            flow = self.flows.get(stream)
            if flow is not None:
                flow.grant(credit)
        elif kind == Kind.OPEN:
            message = frames.read_open(body)
            self._open(message)
            self._blocks.opened(message.stream)
        elif kind == Kind.RESET:
            flow = self.flows.get(frames.read_numbers(body, 1)[0])
            if flow is not None:
                flow.abort("the peer's end host broke it off", tell=False)
        elif kind == Kind.FAILED:
            self._failed(*frames.read_numbers(body, 2))
        else:
            raise ProtocolError(f"{Kind(kind).name} does not belong to the express session")

    def _open(self, message: Open) -> None:
        stream = message.stream
        if stream % 2 == self._next_stream % 2 or stream <= self._opened_by_peer:
            raise ProtocolError(f"OPEN of stream {stream}, which is not the peer's to open")
        self.cache(message.domain)
        self._opened_by_peer = stream
        self._crowd.enter(self.loop.now)
        reason = self.sites.objection(message.server[0], message.client[0])
        if message.layers:
            reason = f"asks for layers {message.layers}, which this version does not have"
        if reason:
            self.box.emit(
                "flow.refused",
                "warning",
                self.id,
                f"peer {self.id} {reason}",
                {"client": message.client, "server": message.server},
            )
            self._send(frames.failed(stream, errno.EACCES))
            return
        if not self.box.admits(self.id):
            self._send(frames.failed(stream, errno.EAGAIN))
            return
        if self._told_full[0] and self.loop.now - self._told_full[1] > TELL_AGAIN_S:
            for frame in self._fullness(Role.EXPRESS):
                self.attachment.send(Role.EXPRESS, frame)
        try:
            sock = self.box.dial(message.client, message.server, self.config.source, message.dscp)
        except OSError as error:
            number = errno.EAGAIN if error.errno in NO_ROOM else error.errno or errno.EIO
            self._send(frames.failed(stream, number))
            return
        flow = Flow(
            self,
            sock,
            stream,
            message.client,
            message.server,
            connecting=True,
            credit=(self._credit, FIRST_CREDIT),
            window=int(self.box.limits.flow_buffer),
            domain=message.domain,
            store=message.store,
            rule="",
            dscp=message.dscp,
        )
        self.flows[stream] = flow
        timeout = float(self.box.limits.open_timeout)
        self.loop.call_later(timeout, flow.give_up)
        if self.config.source == "client":
            self._returns.watch(flow)

    def _asymmetric(self, server: Address, flows: list[Flow]) -> None:
        """A server answers this box, and not clients of the peer's by way of it."""
        client = flows[0].client
        text = (
            f"{server[0]} answers this box, but its answers to {client[0]} do not come back through it; "
            'route them here, or set `source = "box"` for this peer'
        )
        evidence: dict[str, object] = {"server": list(server), "client": list(client), "silent_s": ASK_S}
        self.tell("route.asymmetric", "warning", text, evidence)
        for flow in flows:
            flow.refuse(frames.ASYMMETRIC)

    def _failed(self, stream: int, number: int) -> None:
        flow = self.flows.get(stream)
        if flow is None:
            return
        if not flow.accepted:
            raise ProtocolError(f"FAILED for stream {stream}, which the peer itself has opened")
        # First the set that lets the retry through, then the RST that causes the retry. Not where the peer has said
        # that it takes no flows: they pass anyway, and the destination is not to blame.
        if number == frames.ASYMMETRIC:
            self.box.avoid(flow.server)
        elif number != errno.EAGAIN or not self.full:
            self.box.refuse(flow.server)
        flow.abort(f"the far side could not connect (error {number})", tell=False)

    # What the bulk session asks of its owner.

    def cache(self, domain: int) -> dedupe.Cache:
        if domain not in self._agreed:
            raise ProtocolError(f"cache domain {domain} was not agreed on")
        return self._caches[domain]

    def deliver(self, flow: Flow, offset: int, data: bytes | memoryview, fin: bool) -> None:
        """Hands bytes to a flow. When the box has no memory left for them all, the slowest reader is given up of the
        peer whose flows hold most."""
        flow.deliver(offset, data, fin)
        pool = self.buffers.pool
        if pool.unread > pool.limit // 2:
            slowest = _slowest(self.box.all_flows())
            text = f"{slowest.client[0]} does not read {slowest.unread} bytes of {slowest.server[0]}; flow broken off"
            self.box.emit("flow.memory", "warning", self.id, text, {"limit": pool.limit})
            slowest.abort("memory is short and its end host does not read")

    def cache_used(self, cache: dedupe.Cache) -> None:
        self.box.cache_used(cache)

    def bulk_lane(self) -> Lane | None:
        return self.attachment.lanes.get(Role.BULK)

    def flow(self, stream: int) -> Flow | None:
        return self.flows.get(stream)

    def yet_to_open(self, stream: int) -> bool:
        """Whether the stream is the peer's, and its OPEN has not come: it may be slower than the first block."""
        return stream % 2 != self._next_stream % 2 and stream > self._opened_by_peer

    def bulk_frame(self, kind: int, body: bytes) -> None:
        if kind == Kind.ACK:
            self._bulk.acknowledge(frames.read_numbers(body, 1)[0])
            return
        if kind != Kind.NAK:
            raise ProtocolError(f"{Kind(kind).name} does not belong to the bulk session")
        self._bulk.rejected(frames.read_numbers(body, 1)[0])
        self._acks.took(Role.BULK, 0)

    def bulk_give_up(self, flow: Flow) -> None:
        text = f"the peer cannot decode what {flow.server[0]} and {flow.client[0]} say; flow broken off"
        self.box.emit("flow.undecodable", "error", self.id, text, {"stream": flow.stream})
        if flow.closed:
            self._send(frames.reset(flow.stream))  # it has ended in good order here, and never will there
        flow.abort("the peer could not decode it")

    def bulk_took(self, work: int) -> None:
        if work:
            self._bad_in_a_row = 0
        self._acks.took(Role.BULK, work)

    def bulk_violation(self, reason: str) -> None:
        """A frame that had waited for its turn was refused: it cannot be asked for again."""
        self.tell("lane.protocol", "warning", f"association ended: {reason}", {})
        self.attachment.restart(f"protocol: {reason}")

    def bad_block(self, reason: str) -> None:
        number = self._acks.received(Role.BULK)
        self.bad_blocks += 1
        self._bad_in_a_row += 1
        if self._bad_in_a_row > MOST_BAD_BLOCKS:
            raise ProtocolError(f"{MOST_BAD_BLOCKS} blocks in a row cannot be decoded: {reason}")
        self.box.emit(
            "codec.bad_block", "error", self.id, f"a block of peer {self.id} was not accepted: {reason}", {}
        )
        self._bulk.say(frames.nak(number))


def _slowest(flows: Iterable[Flow]) -> Flow:
    """The flow to be given up for all others."""
    by_peer: dict[Carrier, list[Flow]] = {}
    for flow in flows:
        by_peer.setdefault(flow.carrier, []).append(flow)
    most = max(by_peer.values(), key=lambda flows: sum(flow.unread for flow in flows))
    return max(most, key=lambda flow: flow.unread)
