"""One block: the bytes of one flow, encoded in one go."""

from dataclasses import dataclass

import xxhash

from dedupe.window import EncodeWindow

LARGEST = 1 << 22
HASH_BYTES = 8

Buffer = bytes | bytearray | memoryview


@dataclass(slots=True)
class Block:
    """What encode made. base and logged: the range [base, base + logged) of the log that it appended.

    tokens: those of a block that copies, since what it refers to must be known if it is refused.
    """

    wire: bytes
    tokens: bytes
    raw_length: int
    copied: int
    literal: int
    base: int
    logged: int
    session: int
    window: EncodeWindow | None


def checksum(raw: Buffer, prefix: Buffer, epoch: int) -> bytes:
    """xxh3-64 of the original bytes, little endian, seeded with that of head and tokens, seeded with the epoch.

    So a block that was changed anywhere, or decoded against another log, does not pass.
    """
    seed = xxhash.xxh3_64_intdigest(prefix, epoch)
    return xxhash.xxh3_64_intdigest(raw, seed).to_bytes(HASH_BYTES, "little")
