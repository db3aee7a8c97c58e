"""Queueing disciplines and classes in the words of rtnetlink. Pure. Reference: linux/pkt_sched.h."""

from __future__ import annotations

import struct
from typing import Final

from appliance.control.shaping import HtbClass
from appliance.intercept import netlink

_MOST: Final = 0xFFFFFFFF
AT_ROOT: Final = _MOST  # the parent of an interface's first discipline

_HEAD: Final = struct.Struct("=4xiIII")  # struct tcmsg: interface, handle, parent, info
_KIND, _OPTIONS = 1, 2
_HTB_PARAMETERS, _HTB_GLOBAL = 1, 2
_GLOBAL: Final = struct.Struct(
    "=5I"
)  # struct tc_htb_glob: version, rate to quantum, default class, debug, packets
_HTB_VERSION, _RATE_TO_QUANTUM = 3, 10
_RATE: Final = struct.Struct(
    "=xBHhHI"
)  # struct tc_ratespec: link layer, overhead, alignment, least packet, bytes/s
_CLASS: Final = struct.Struct("=5I")  # the rest of struct tc_htb_opt: two bursts, quantum, level, priority
_ETHERNET: Final = 1
_TICK_NS: Final = 64  # PSCHED_SHIFT: what the kernel counts bursts in
_QUANTUM: Final = 1514
_SFQ: Final = struct.Struct("=IiIII")  # struct tc_sfq_qopt: quantum, perturbation, packets, divisor, flows


def head(index: int, handle: int = 0, parent: int = 0) -> bytes:
    """Which discipline or class of the interface with that index is meant."""
    return _HEAD.pack(index, handle, parent, 0)


def meant(body: bytes) -> tuple[int, int]:
    """Index of the interface, and handle, of what the kernel has."""
    index, handle, _, _ = _HEAD.unpack_from(body)
    return index, handle


def attributes(body: bytes) -> dict[int, bytes]:
    """What follows the head."""
    return netlink.attributes(body[_HEAD.size :])


def discipline(default: int) -> bytes:
    """An htb, with the minor number of the class that takes what nobody sorts."""
    options = _GLOBAL.pack(_HTB_VERSION, _RATE_TO_QUANTUM, default, 0, 0)
    return _said("htb", netlink.attribute(_HTB_GLOBAL, options))


def parameters(wanted: HtbClass) -> bytes:
    """A class of an htb. What is beyond 34 Gbit/s is held to that: the kernel's number for it has 32 bits."""
    both = [min(max(rate, 1), _MOST) for rate in (wanted.rate, wanted.ceil)]
    rates = b"".join(_RATE.pack(_ETHERNET, 0, 0, 0, rate) for rate in both)
    bursts = (_ticks(wanted.burst, rate) for rate in both)
    options = rates + _CLASS.pack(*bursts, _QUANTUM, 0, wanted.prio)
    return _said("htb", netlink.attribute(_HTB_PARAMETERS, options))


def leaf(kind: str, packets: int) -> bytes:
    """The queue in a class; of those that count packets it holds so many."""
    options = {"pfifo": struct.pack("=I", packets), "sfq": _SFQ.pack(0, 0, packets, 0, 0)}
    return _said(kind, options.get(kind, b""))


def _said(kind: str, options: bytes) -> bytes:
    name = netlink.attribute(_KIND, f"{kind}\0".encode())
    return name + netlink.attribute(_OPTIONS, options) if options else name


def _ticks(burst: int, rate: int) -> int:
    """How long `burst` bytes take at `rate` bytes/s, as the kernel counts it in 32 bits."""
    return min(burst * 1_000_000_000 // rate // _TICK_NS, _MOST)
