"""Flows made of packets that are overheard, and what each application's would come to. Pure: packets in, sums out.

What is missing (a packet that came too fast, a flow that began before) is not waited for: the bytes that are there
are taken as they come. A retransmission counts once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address

import dedupe
from appliance.applications import Application, Opening, by_port
from appliance.observing.segment import ACK, FIN, RST, SYN, segment, total

BLOCK = 256 << 10  # bytes that the codec is given in one go
MOST_HELD = 64 << 20  # bytes of all flows that wait for it
MOST_FLOWS = 50_000

Network = IPv4Network | IPv6Network
Encode = Callable[[bytearray, dedupe.EncodeWindow], int]


@dataclass
class Sums:
    """One application's traffic; `bytes` are estimated for all flows where only some were looked at.

    The last three are of those that were: their payload, what of it the codec got, and what became of that.
    """

    bytes: float = 0
    flows: float = 0
    guessed: float = 0
    """Bytes of flows whose port alone speaks for them."""
    seen: int = 0
    sampled: int = 0
    encoded: int = 0


@dataclass(slots=True)
class _Half:
    """One direction of a flow."""

    flow: _Flow
    from_client: bool
    next: int = -1
    """Sequence number that should come; -1 before any has."""
    ended: bool = False
    held: bytearray = field(default_factory=bytearray)
    window: dedupe.EncodeWindow = field(default_factory=dedupe.EncodeWindow)


@dataclass(slots=True)
class _Flow:
    port: int
    weight: int
    opening: Opening | None = field(default_factory=Opening)
    application: Application | None = None
    sums: Sums = field(default_factory=Sums)
    """Of this flow alone, until its application is known for good."""

    def known(self) -> Application:
        if self.application is None:
            self.application = self.opening.application(self.port) if self.opening else by_port(self.port)
            self.opening = None
        return self.application


class Traffic:
    """`encode` says what the codec makes of a block; with `sites`, only flows with one end there are looked at."""

    def __init__(self, encode: Encode, sites: tuple[Network, ...] = ()) -> None:
        self.packets = 0
        self.other = 0.0  # bytes that are no TCP
        self.weight = 1  # flows for which one that is seen stands
        self.other_weight = 1  # the same, of packets that are no TCP
        self._encode = encode
        self._sites = sites
        self._halves: dict[bytes, _Half | None] = {}
        self._held = 0
        self._sums: dict[tuple[str, str], Sums] = {}

    def packet(self, packet: memoryview) -> None:
        """The next IP packet, whole, or if it is no TCP its headers."""
        self.packets += 1
        found = segment(packet)
        if found is None:
            if not self._sites or self._is_of_site(bytes(packet[:40])):
                self.other += total(packet) * self.other_weight
            return
        key, other, source, target, sequence, flags, start, end = found
        half = self._halves.get(key)
        if half is None:
            if key in self._halves or not (flags & SYN or end > start):
                return  # of no site that was asked for, or the last word of a flow that has ended
            half = self._begin(key, other, source, target, flags)
            if half is None:
                return
        flow = half.flow
        flow.sums.bytes += total(packet) * flow.weight
        if flags & SYN:
            half.next = (sequence + 1) & 0xFFFFFFFF
        elif end > start:
            missing = (half.next - sequence) & 0xFFFFFFFF if half.next >= 0 else 0
            if missing >= 1 << 31:  # something before this was lost
                missing = 0
            if missing < end - start:
                self._payload(half, packet[start + missing : end])
                half.next = (sequence + end - start) & 0xFFFFFFFF
        if flags & (FIN | RST):
            half.ended = True
            opposite = self._halves.get(other)
            if flags & RST or opposite is None or opposite.ended:
                self._end(key, other)

    def _begin(self, key: bytes, other: bytes, source: int, target: int, flags: int) -> _Half | None:
        if len(self._halves) >= 2 * MOST_FLOWS:
            self.finish()  # those that go on count once more, as flows that were open before
        if self._sites and not self._is_between_sites(key):
            self._halves[key] = self._halves[other] = None
            return None
        if flags & SYN:
            from_client = not flags & ACK
        else:
            known = [by_port(port).name != "unknown" for port in (source, target)]
            from_client = known[1] if known[0] != known[1] else source > target
        flow = _Flow(target if from_client else source, self.weight)
        flow.sums.flows = self.weight
        half = self._halves[key] = _Half(flow, from_client)
        self._halves[other] = _Half(flow, not from_client)
        return half

    def _payload(self, half: _Half, data: memoryview) -> None:
        flow = half.flow
        flow.sums.seen += len(data)
        if flow.opening is not None and flow.opening.add(half.from_client, data):
            flow.known()
        if flow.application is not None and flow.application.encrypted:
            return
        half.held += data
        self._held += len(data)
        if len(half.held) >= BLOCK:
            self._flush(half)
        elif self._held > MOST_HELD:
            for waiting in self._halves.values():
                if waiting is not None and waiting.held:
                    self._flush(waiting)

    def _flush(self, half: _Half) -> None:
        held, half.held = half.held, bytearray()
        self._held -= len(held)
        flow = half.flow
        if not held or flow.known().encrypted:
            return
        flow.sums.sampled += len(held)
        flow.sums.encoded += self._encode(held, half.window)

    def _end(self, key: bytes, other: bytes) -> None:
        half = self._halves.pop(key, None)
        opposite = self._halves.pop(other, None)
        if half is None:
            return
        if opposite is not None:
            self._flush(opposite)
        self._flush(half)
        self._count(half.flow)

    def _count(self, flow: _Flow) -> None:
        application = flow.known()
        sums = self._sums.setdefault((application.name, application.protection), Sums())
        mine = flow.sums
        if not application.certain:
            mine.guessed = mine.bytes
        for name in vars(mine):
            setattr(sums, name, getattr(sums, name) + getattr(mine, name))

    def finish(self) -> dict[tuple[str, str], Sums]:
        """Takes all flows for ended; the sums so far by (application, protection)."""
        while self._halves:
            key, half = self._halves.popitem()
            if half is None:
                continue
            self._halves[key] = half
            length = (len(key) - 4) // 2
            other = key[length : 2 * length] + key[:length] + key[-2:] + key[-4:-2]
            self._end(key, other)
        return self._sums

    def _is_between_sites(self, key: bytes) -> bool:
        length = (len(key) - 4) // 2
        return any(self._at_site(key[at : at + length]) for at in (0, length))

    def _is_of_site(self, packet: bytes) -> bool:
        ends = (packet[12:16], packet[16:20]) if packet[0] >> 4 == 4 else (packet[8:24], packet[24:40])
        return any(self._at_site(end) for end in ends)

    def _at_site(self, packed: bytes) -> bool:
        if len(packed) not in {4, 16}:
            return False
        address = ip_address(packed)
        return any(address in site for site in self._sites)
