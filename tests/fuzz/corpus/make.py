"""Writes the seeds beside it: `python -m tests.fuzz.corpus.make`. The fuzzers start from them."""

import random
from pathlib import Path

from dedupe import Cache, Effort
from tests.unit.dedupe import oracle

HERE = Path(__file__).parent
STATE = bytes([0, 0, 1, 0])  # log head 0, one range held: see block.c


def blocks() -> list[bytes]:
    """Blocks as a session sends them: literal, copied, edited, each coding."""
    left, right = Cache(capacity=1 << 16), Cache(capacity=1 << 16)
    offers = left.offer(), right.offer()
    left.accept(offers[1])
    right.accept(offers[0])
    dice = random.Random(7)
    noise = dice.randbytes(300)
    text = b"the quick brown fox jumps over the lazy dog " * 8
    contents = [noise, text, noise + b"new" + text, text[:50], bytes(400), noise[:150] + text + noise[150:]]
    return [unpacked(left.encode(raw, effort=effort).wire) for effort in Effort for raw in contents]


def unpacked(wire: bytes) -> bytes:
    """The fuzz target takes what is packed for plain: so it gets at the tokens."""
    block = oracle.parse(wire)
    if block.coding not in oracle.PACKED:
        return wire
    return block.head + block.checksum + oracle.unpack_payload(block, None)


def scripts() -> list[bytes]:
    """Inputs of recovery.py: one kind of harm each, to the first journal, then to the second, then sound records."""
    dice = random.Random(9)
    harms = [bytes([how]) + dice.randbytes(40) for how in range(6)]
    later = [bytes([0, 0, how]) + dice.randbytes(40) for how in range(6)]
    records = [bytes([3, keep, count]) + dice.randbytes(28 * count) for keep in (0, 1) for count in (1, 5)]
    return harms + later + records


def exchanges() -> list[bytes]:
    """Inputs of round_trip.c: control, length in sixteens, bytes; a control of 0x80 repeats them."""
    dice = random.Random(8)
    noise, runs = dice.randbytes(256), b"".join(bytes([n]) * 40 for n in range(10))
    return [
        bytes([0, 16]) + noise + bytes([0x80, 0, 0x91, 0]),
        bytes([4, 16])
        + noise
        + bytes([0, 8])
        + noise[64:192]
        + bytes([0, 16])
        + noise[:100]
        + b"edit"
        + noise[104:],
        bytes([0, 25]) + runs + bytes([0x80, 0, 2, 25]) + runs + bytes([1, 25]) + runs,
    ]


def main() -> None:
    # Random epochs make the checks of blocks differ from run to run; the fuzz target does not look at them.
    seeds = {"block": [STATE + wire for wire in blocks()], "round_trip": exchanges(), "recovery": scripts()}
    for name, inputs in seeds.items():
        directory = HERE / name
        directory.mkdir(exist_ok=True)
        for number, data in enumerate(inputs):
            (directory / f"{number:02}").write_bytes(data)


if __name__ == "__main__":
    main()
