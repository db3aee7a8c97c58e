"""The rules of the logs, explored: two peers, lossy sessions, rejects, restarts, rings that wrap.

Beside each peer stands an oracle receiver with unlimited memory that holds exactly what that peer has verified.
A block that names anything else is found out there, even if the bytes happened to be right.
"""

from __future__ import annotations

import io
from collections import deque
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dedupe import BadBlock, Block, Cache, DecodeWindow, Effort, EncodeWindow
from dedupe.literals import EARNED
from dedupe.offer import parse
from tests.unit.dedupe import oracle
from tests.unit.dedupe.corpus import NOISE, SOURCES, TEXT, meet

LIMIT = 1 << 16
FLOWS = 3
SIZES = (4096, 20_000, 200_000)
SIDES = st.integers(0, 1)
PHRASES = [
    *(
        source[at : at + length]
        for source in SOURCES
        for at, length in ((0, 6000), (2000, 700), (3000, 2500))
    ),
    *(NOISE[at : at + 3000] for at in range(10_000, 40_000, 3000)),
    *(TEXT[at : at + 40] for at in range(0, 200, 40)),
]
CHOICES = st.lists(st.integers(0, len(PHRASES) - 1), min_size=1, max_size=3)


@dataclass(eq=False)
class Sent:
    """A block on its way."""

    block: Block
    wire: bytes
    raw: bytes
    flow: int
    excused: bool  # it may build on a block that was changed on its way
    sound: bool = True  # not itself changed


@dataclass
class Answer:
    """ACK or NAK on its way back."""

    sent: Sent
    good: bool


def earned() -> EncodeWindow:
    """A window that gets its stream with the first literals."""
    window = EncodeWindow()
    window.packed = EARNED
    return window


@dataclass
class Peer:
    """One side: its cache, its windows, what is on its way to it, and the oracle's copy of what it received."""

    cache: Cache
    log: oracle.PlainLog
    mail: deque[Sent | Answer] = field(default_factory=deque)
    out: list[EncodeWindow] = field(default_factory=lambda: [earned() for _ in range(FLOWS)])
    into: list[DecodeWindow] = field(default_factory=lambda: [DecodeWindow() for _ in range(FLOWS)])
    plain: list[oracle.PlainDecodeWindow] = field(
        default_factory=lambda: [oracle.PlainDecodeWindow() for _ in range(FLOWS)]
    )
    unanswered: list[Sent] = field(default_factory=list)


class TwoPeers(RuleBasedStateMachine):
    @initialize(
        left=st.sampled_from(SIZES),
        right=st.sampled_from(SIZES),
        gap=st.sampled_from((9000, 60_000, 300_000)),
    )
    def start(self, left: int, right: int, gap: int) -> None:
        self.sizes, self.gap = (left, right), gap
        self.peers = [Peer(self.fresh(side), oracle.PlainLog(0)) for side in range(2)]
        self.meet()

    def fresh(self, side: int) -> Cache:
        return Cache(capacity=self.sizes[side], gap=self.gap)

    def meet(self) -> None:
        for side, peer in enumerate(self.peers):
            writer = self.peers[1 - side]
            epoch = parse(writer.cache.offer()).writes.epoch
            if peer.log.epoch != epoch:
                peer.log.begin(epoch)
            peer.mail.clear()
            peer.unanswered.clear()
        meet(self.peers[0].cache, self.peers[1].cache)

    def send(self, side: int, raw: bytes, flow: int, effort: Effort, store: bool, literal: bool) -> None:
        me, other = self.peers[side], self.peers[1 - side]
        room = me.cache.room()
        block = me.cache.encode(raw, effort=effort, window=me.out[flow], store=store, literal=literal)
        length = block.raw_length
        assert length == block.copied + block.literal == len(raw)
        assert block.logged <= (room if store else 0)
        assert not (literal and block.copied)
        for token in oracle.read_tokens(io.BytesIO(block.tokens), length if block.copied else 0):
            if isinstance(token, oracle.Copy):
                head = (block.base, len(me.log.data))[token.log]
                assert head - min(self.sizes) <= token.offset < head
        excused = not literal and any(item.excused or not item.sound for item in me.unanswered)
        sent = Sent(block, block.wire, raw, flow, excused)
        me.unanswered.append(sent)
        other.mail.append(sent)

    @rule(
        side=SIDES,
        choices=CHOICES,
        flow=st.integers(0, FLOWS - 1),
        effort=st.sampled_from(Effort),
        store=st.sampled_from((True, True, True, False)),
    )
    def encode(self, side: int, choices: list[int], flow: int, effort: Effort, store: bool) -> None:
        self.send(side, b"".join(PHRASES[choice] for choice in choices), flow, effort, store, literal=False)

    @rule(side=SIDES, count=st.integers(1, 4))
    def deliver(self, side: int, count: int) -> None:
        peer = self.peers[side]
        for _ in range(min(count, len(peer.mail))):
            message = peer.mail.popleft()
            if isinstance(message, Answer):
                self.answered(side, message)
            else:
                self.received(side, message)

    def received(self, side: int, sent: Sent) -> None:
        me, other = self.peers[side], self.peers[1 - side]
        try:
            raw = me.cache.decode(sent.wire, window=me.into[sent.flow], limit=LIMIT)
        except BadBlock:
            assert sent.excused or not sent.sound, "a block that was whole and in order was refused"
            me.plain[sent.flow].stream = None
            other.mail.append(Answer(sent, good=False))
            return
        assert raw == sent.raw
        assert oracle.decode(sent.block.wire, me.log, other.log, me.plain[sent.flow]) == sent.raw
        other.mail.append(Answer(sent, good=True))

    def answered(self, side: int, answer: Answer) -> None:
        me, sent = self.peers[side], answer.sent
        me.unanswered.remove(sent)
        if answer.good:
            me.cache.acknowledge(sent.block)
            return
        me.cache.reject(sent.block)
        self.send(side, sent.raw, sent.flow, Effort.DENSE, store=True, literal=True)

    @precondition(lambda self: any(isinstance(item, Sent) for peer in self.peers for item in peer.mail))
    @rule(data=st.data(), place=st.integers(0, 1 << 20), flip=st.integers(1, 255))
    def corrupt(self, data: st.DataObject, place: int, flip: int) -> None:
        where = [
            (sender, item)
            for sender, receiver in (self.peers, self.peers[::-1])
            for item in receiver.mail
            if isinstance(item, Sent)
        ]
        sender, item = data.draw(st.sampled_from(where))
        head = oracle.parse(item.block.wire)
        wire = bytearray(item.wire)
        wire[place % (len(item.block.wire) - len(head.payload))] ^= flip  # further on it may be harmless
        item.wire, item.sound = bytes(wire), wire == item.block.wire
        for later in sender.unanswered[sender.unanswered.index(item) + 1 :]:
            later.excused = True

    @rule()
    def lose_the_session(self) -> None:
        self.meet()

    @rule(side=SIDES)
    def restart(self, side: int) -> None:
        peer = self.peers[side]
        self.peers[side] = Peer(self.fresh(side), peer.log)
        peer.log.forget()
        self.meet()

    @invariant()
    def memory_is_bounded(self) -> None:
        for peer in getattr(self, "peers", []):
            stats = peer.cache.stats()
            assert stats.written_log + stats.received_log <= stats.log_capacity
            assert peer.cache.room() >= 0

    def teardown(self) -> None:
        """Whatever happened, what is on its way arrives in the end."""
        peers = getattr(self, "peers", [])
        for _ in range(1000):
            for side, peer in enumerate(peers):
                if peer.mail:
                    self.deliver(side, 1)
        assert not any(peer.mail for peer in peers)


TestTwoPeers = TwoPeers.TestCase
TestTwoPeers.settings = settings(max_examples=60, stateful_step_count=60)
