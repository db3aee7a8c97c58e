"""A box's peers over several data processes: which process has which peer, and how much of the limits. Pure.

A peer's process follows from its id alone, so that one that comes or goes moves no other, and every process, the
branch's lanes and control find it without asking anybody.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from appliance.config.schema import Config
    from appliance.intercept.specs import BoxSpec


@dataclass(frozen=True)
class Part:
    """One data process of `of`, by its number from 1."""

    number: int
    of: int

    @property
    def name(self) -> str:
        """The process's name; its socket is called so too."""
        return "data" if self.number == 1 else f"data-{self.number}"

    @property
    def socket(self) -> str:
        """Name of its control socket in the run directory."""
        return f"{self.name}.sock"

    @property
    def inbox(self) -> str:
        """Name of the socket in the run directory to which the other processes send lanes that are for it."""
        return f"lanes-{self.number}.sock"

    def has(self, peer: str) -> bool:
        """Whether the peer is this process's."""
        return number_of(peer, self.of) == self.number

    def config(self, config: Config) -> Config:
        """With this process's share of the limits: by its number of peers; what comes in is spread evenly."""
        if self.of == 1:
            return config
        counts = [
            1
        ] * self.of  # a process without peers has a little too: the first peer may come at any time
        for peer in config.peers:
            counts[number_of(str(peer.id), self.of) - 1] += 1
        own, every = counts[self.number - 1], sum(counts)
        limits = config.limits
        memory = limits.memory * own // every
        limits = msgspec.structs.replace(
            limits,
            memory=type(limits.memory)(memory),
            flow_buffer=type(limits.flow_buffer)(min(limits.flow_buffer, memory)),
            flows=max(1, limits.flows * own // every),
            handshakes=max(1, limits.handshakes // self.of),
        )
        return msgspec.structs.replace(config, limits=limits)

    def spec(self, spec: BoxSpec) -> BoxSpec:
        """What the kernel is to do for this process."""
        peers = tuple(replace(peer, here=self.has(peer.id)) for peer in spec.peers)
        return replace(spec, peers=peers, part=self.number, shared=self.of > 1)


ALONE: Final = Part(1, 1)


def parts(of: int) -> tuple[Part, ...]:
    """All processes of a box."""
    return tuple(Part(number, of) for number in range(1, of + 1))


def number_of(peer: str, of: int) -> int:
    """The number of the process that has a peer."""
    return int.from_bytes(hashlib.sha256(peer.encode()).digest()[:8], "big") % of + 1
