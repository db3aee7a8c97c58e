"""Classic BPF programs for packet sockets: the kernel drops what nobody wants before it costs anything.

A program sees a packet from its IP header on (SOCK_DGRAM). Reference: linux/filter.h, and the paper that it comes from:
McCanne and Jacobson, "The BSD Packet Filter", 1993.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Final

from appliance.lanes.frames import Address

ALL: Final = 0x40000  # bytes of a packet that are kept
HEADERS: Final = 64

NOTHING: Final = struct.pack("=HBBI", 0x06, 0, 0, 0)

_LD_W, _LD_H, _LD_B, _LD_IND = 0x20, 0x28, 0x30, 0x40
_LDX_IHL = 0xB1  # X = 4 * (P[k] & 15)
_XOR, _MUL, _RSH, _AND = 0xAC, 0x24, 0x74, 0x54  # xor is with X, the others are with a constant
_JEQ, _JSET, _JA = 0x15, 0x45, 0x05
_RET, _TAX = 0x06, 0x07

_PROTOCOL: Final = 0xFFFFF000  # ancillary: the ethernet protocol
_RANDOM: Final = 0xFFFFF000 + 56
_IPV4, _IPV6 = 0x0800, 0x86DD
_TCP: Final = 6
_GOLDEN: Final = (
    0x9E3779B1  # Fibonacci hashing (Knuth, 6.4): the upper bits of the product depend on all bits
)


class _Program:
    """Instructions with labels; `fill` makes what the kernel takes."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, int, str, str]] = []
        self._labels: dict[str, int] = {}

    def label(self, name: str) -> None:
        self._labels[name] = len(self._lines)

    def do(self, code: int, operand: int = 0) -> None:
        self._lines.append((code, operand, "", ""))

    def when(self, code: int, operand: int, yes: str = "", no: str = "") -> None:
        """A jump; without a label it goes on with the next line."""
        self._lines.append((code, operand, yes, no))

    def go(self, target: str) -> None:
        self._lines.append((_JA, 0, target, ""))

    def fill(self) -> bytes:
        """An array of struct sock_filter."""
        made = []
        for at, (code, operand, yes, no) in enumerate(self._lines):
            there, otherwise = (self._labels[name] - at - 1 if name else 0 for name in (yes, no))
            if code == _JA:
                made.append(struct.pack("=HBBI", code, 0, 0, there))
            else:
                made.append(struct.pack("=HBBI", code, there, otherwise, operand))
        return b"".join(made)


def sample(tcp: int, other: int) -> bytes:
    """All packets of one TCP flow in 2**`tcp`, both directions, and the headers of one other IP packet in 2**`other`.

    Which flows those are depends on their addresses and ports only, so that a flow is seen from its first packet on.
    """
    program = _Program()
    program.do(_LD_H, _PROTOCOL)
    program.when(_JEQ, _IPV4, yes="v4")
    program.when(_JEQ, _IPV6, yes="v6", no="drop")
    program.label("v4")
    program.do(_LD_B, 9)
    program.when(_JEQ, _TCP, no="other")
    program.do(_LD_H, 6)
    program.when(_JSET, 0x1FFF, yes="other")  # a fragment without ports
    program.do(_LDX_IHL, 0)
    program.do(_LD_IND, 0)
    _hash(program, 12, 16)
    program.go("hashed")
    program.label("v6")
    program.do(_LD_B, 6)
    program.when(_JEQ, _TCP, no="other")
    program.do(_LD_W, 40)
    _hash(program, 20, 36)
    program.label("hashed")
    if tcp:
        program.do(_MUL, _GOLDEN)
        program.do(_RSH, 32 - tcp)
        program.when(_JEQ, 0, no="drop")
    program.do(_RET, ALL)
    program.label("other")
    program.do(_LD_W, _RANDOM)
    program.when(_JSET, (1 << other) - 1, yes="drop")
    program.do(_RET, HEADERS)
    program.label("drop")
    program.do(_RET, 0)
    return program.fill()


def _hash(program: _Program, source: int, target: int) -> None:
    """Both ports are loaded; both directions of a flow come to the same."""
    program.do(_TAX)
    program.do(_RSH, 16)
    program.do(_XOR)
    program.do(_AND, 0xFFFF)
    for at in (source, target):
        program.do(_TAX)
        program.do(_LD_W, at)
        program.do(_XOR)


def one_flow(client: Address, server: Address) -> bytes:
    """All packets of one TCP flow, both directions. ValueError when the ends are of different families."""
    ends = [(ipaddress.ip_address(host), port) for host, port in (client, server)]
    version = ends[0][0].version
    if version != ends[1][0].version:
        raise ValueError(f"{client[0]} and {server[0]} are not of the same family")
    program = _Program()
    program.do(_LD_H, _PROTOCOL)
    program.when(_JEQ, _IPV4 if version == 4 else _IPV6, no="drop")
    program.do(_LD_B, 9 if version == 4 else 6)
    program.when(_JEQ, _TCP, no="drop")
    if version == 4:
        program.do(_LD_H, 6)
        program.when(_JSET, 0x1FFF, yes="drop")
    program.label("there")
    _match(program, ends[0], ends[1], version, "back")
    program.label("back")
    _match(program, ends[1], ends[0], version, "drop")
    program.label("drop")
    program.do(_RET, 0)
    return program.fill()


_End = tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]


def _match(program: _Program, source: _End, target: _End, version: int, otherwise: str) -> None:
    at = 12 if version == 4 else 8
    words = struct.unpack(f"!{2 if version == 4 else 8}I", source[0].packed + target[0].packed)
    for number, word in enumerate(words):
        program.do(_LD_W, at + 4 * number)
        program.when(_JEQ, word, no=otherwise)
    if version == 4:
        program.do(_LDX_IHL, 0)
        program.do(_LD_IND, 0)
    else:
        program.do(_LD_W, 40)
    program.when(_JEQ, source[1] << 16 | target[1], no=otherwise)
    program.do(_RET, ALL)
