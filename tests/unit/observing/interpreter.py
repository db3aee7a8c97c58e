"""A machine for classic BPF programs, slow and obvious: the semantics of linux/filter.h that packet sockets use."""

from __future__ import annotations

import struct


def run(program: bytes, packet: bytes, *, protocol: int, random: int = 0) -> int:
    """What the program returns for a packet that begins with its IP header."""
    lines = list(struct.iter_unpack("=HBBI", program))
    accumulator = index = at = 0

    def load(offset: int, size: int) -> int:
        if offset == 0xFFFFF000:
            return protocol
        if offset == 0xFFFFF000 + 56:
            return random
        if offset + size > len(packet):
            raise IndexError
        return int.from_bytes(packet[offset : offset + size], "big")

    while True:
        code, yes, no, operand = lines[at]
        at += 1
        try:
            if code in {0x20, 0x28, 0x30}:
                accumulator = load(operand, {0x20: 4, 0x28: 2, 0x30: 1}[code])
            elif code == 0x40:
                accumulator = load(index + operand, 4)
            elif code == 0xB1:
                index = 4 * (load(operand, 1) & 15)
            elif code == 0xAC:
                accumulator ^= index
            elif code == 0x24:
                accumulator = accumulator * operand & 0xFFFFFFFF
            elif code == 0x74:
                accumulator >>= operand
            elif code == 0x54:
                accumulator &= operand
            elif code == 0x07:
                index = accumulator
            elif code == 0x15:
                at += yes if accumulator == operand else no
            elif code == 0x45:
                at += yes if accumulator & operand else no
            elif code == 0x05:
                at += operand
            elif code == 0x06:
                return int(operand)
            else:
                raise NotImplementedError(hex(code))
        except IndexError:
            return 0  # a packet that is too short
