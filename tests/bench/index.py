"""What the thinning index loses on a large log: `python -m tests.bench.index [--log 50GB] [--memory MB] [--json]`.

A log of pseudo-random content is written through the kernel as any other; content is a function of its offset, so
that only the places that come again are kept in memory (all others share one segment). Those places are spread evenly
over the log, which is the hardest case: real traffic repeats what is young. Each comes again as it was, and with
an edit about every 8 KB. Beside the index of the given memory (MB per GB of log) stands one that has every anchor of
those places: what a full index finds. The result line is the share of its copied bytes that the small one keeps, and
what a log takes of RAM in all: its index, its ledger (counted, not guessed) and its table of segments.
About a minute and a half for 50 GB; the default is a scale model of 4 GB in which all ages are as many octaves.
"""

import argparse
import json
import random
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from dedupe._kernel import ffi, lib

from appliance.config import units
from dedupe.cache import usual_gap
from dedupe.index import THIN, Index
from dedupe.store.ledger import HEADER_BYTES, Header, Kind, Ledger, Record, Role, parse_records
from dedupe.store.ring import Shape

SEGMENT_BITS = 20
SEGMENT = 1 << SEGMENT_BITS
BLOCK = 256 << 10
EDIT_EVERY = 8 << 10
LEAST_FILE, LARGEST_FILE = 16 << 10, 1 << 20
_KEY = bytes(range(16))
_WORD = (1 << 64) - 1


@dataclass(frozen=True)
class Kept:
    """Bytes. full and thin: copied with every anchor, and with what the memory allows; kept: thin / full.

    ram: the index and all else that a log of this size takes of memory.
    """

    what: str
    log: int
    index: int
    ram: int
    bytes: int
    full: int
    thin: int
    kept: float
    oldest_half_kept: float


def content(block: int) -> bytes:
    """The log's bytes [block * BLOCK, (block + 1) * BLOCK): AES in counter mode."""
    cipher = Cipher(algorithms.AES(_KEY), modes.CTR((block << 32).to_bytes(16, "big")))
    return cipher.encryptor().update(bytes(BLOCK))


class SparseLog:
    """A log whose segments are one and the same, but those that are asked for again."""

    def __init__(self, size: int, places: list[tuple[int, int]]) -> None:
        """places: (offset, length) of what must be readable."""
        count = -(-size // SEGMENT)
        self.size = size
        shared = ffi.new("uint8_t[]", SEGMENT)
        self._segments: Any = ffi.new("uint8_t *[]", [shared] * count)
        self._memory = {-1: shared}
        for start, length in places:
            for segment in range(start >> SEGMENT_BITS, (start + length - 1 >> SEGMENT_BITS) + 1):
                if segment not in self._memory:
                    self._memory[segment] = self._segments[segment] = ffi.new("uint8_t[]", SEGMENT)
        self.kernel: Any = ffi.new(
            "bl_log *", {"segment": self._segments, "segment_bits": SEGMENT_BITS, "segments": count}
        )

    def fill(self, thin: Index, full: Index) -> None:
        """Write it from the first byte to the last; places go into both indexes."""
        kept = set(self._memory)
        token = ffi.new("uint8_t[]", lib.BL_TOKEN_MAX)
        head = BLOCK << 2 | 2  # LITERAL, also logged
        length = 0
        while head:
            token[length] = head & 0x7F | (0x80 if head > 0x7F else 0)
            head >>= 7
            length += 1
        for base in range(0, self.size - BLOCK + 1, BLOCK):
            raw = ffi.from_buffer("uint8_t[]", content(base // BLOCK))
            for index in (thin, full) if base >> SEGMENT_BITS in kept else (thin,):
                status = lib.bl_append(
                    self.kernel, index.kernel, 0, base, token, length, raw, BLOCK, ffi.NULL, 0
                )
                if status != lib.BL_OK:
                    raise RuntimeError(f"the kernel refuses to append: {status}")
        full.kernel.head[0] = self.size

    def read(self, start: int, length: int) -> bytes:
        out = bytearray(length)
        lib.bl_log_read(self.kernel, start, ffi.from_buffer("uint8_t[]", out), length)
        return bytes(out)


def edited(raw: bytes, dice: random.Random) -> bytes:
    """The same with a few bytes put in, taken out or changed, about every EDIT_EVERY bytes."""
    pieces, at = [], 0
    while at < len(raw):
        run = max(1, round(dice.expovariate(1 / EDIT_EVERY)))
        pieces.append(raw[at : at + run])
        pieces.append(dice.randbytes(dice.randrange(32)))
        at += run + dice.randrange(32)
    return b"".join(pieces)


class Search:
    """The encoder's search against one index; nothing is logged."""

    def __init__(self, log: SparseLog, index: Index) -> None:
        self._held = ffi.new("bl_range[]", [{"start": 0, "end": log.size}])
        self._search: Any = ffi.new("bl_search *", {"index": index.kernel, "copy": 1, "relog_below": 1})
        self._search.view[0] = {"log": log.kernel, "range": self._held, "ranges": 1}
        copies = BLOCK // 32 + 2
        self._room = [
            ffi.new("uint8_t[]", copies * lib.BL_TOKEN_MAX),
            ffi.new("uint8_t[]", BLOCK),
            ffi.new("bl_anchor[]", BLOCK // 16),
            ffi.new("bl_copy[]", copies),
        ]
        token, literal, anchor, copy = self._room
        self._found: Any = ffi.new(
            "bl_found *",
            {
                "token": token,
                "token_room": copies * lib.BL_TOKEN_MAX,
                "literal": literal,
                "anchor": anchor,
                "anchor_room": BLOCK // 16,
                "copy": copy,
                "copy_room": copies,
            },
        )
        self._keep = (log, index)

    def copied(self, raw: bytes) -> int:
        """Bytes of one flow that need not be sent."""
        search, found, total = self._search, self._found, 0
        search.hint_log = search.hint_offset = search.hint_run = 0
        for at in range(0, len(raw), BLOCK):
            block = raw[at : at + BLOCK]
            status = lib.bl_match(search, ffi.from_buffer("uint8_t[]", block), len(block), found)
            if status != lib.BL_OK:
                raise RuntimeError(f"the kernel refuses to search: {status}")
            total += found.copied
            search.hint_log, search.hint_offset, search.hint_run = (
                found.next_log,
                found.next_offset,
                found.next_run,
            )
        return total


def beside(size: int) -> int:
    """Bytes of memory that the ledger and the segment table of a full log take."""
    shape = Shape.of(size, usual_gap(size))
    tracemalloc.start()
    ledger = Ledger(shape.bits, shape.slots)
    header = Header(1, 1, Role.WRITTEN, shape.bits, shape.slots)
    journal = b"".join(
        Record(Kind.HELD, number << shape.bits, 1 << shape.bits, hash(number * 3.14) & _WORD).pack(1, number)
        for number in range(shape.slots)
    )
    before = tracemalloc.get_traced_memory()[0]
    for record in parse_records(bytes(HEADER_BYTES) + journal, header):
        ledger.apply(record)
    unverified = ledger.held()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(unverified) == shape.slots
    return after - before + 8 * shape.slots


def measure(size: int, memory: float, places: int, seed: int = 1) -> Iterator[Kept]:
    """size: bytes of log. memory: bytes of index per byte of log. places: how many stretches come again."""
    dice = random.Random(seed)
    size -= size % SEGMENT
    again = []
    for _ in range(places):
        length = round(LEAST_FILE * (LARGEST_FILE / LEAST_FILE) ** dice.random())
        again.append((dice.randrange(1, size - length), length))
    log = SparseLog(size, again)
    thin, full = Index(round(size * memory)), Index(places * 2 * SEGMENT // 4)
    log.fill(thin, full)
    for what in ("repeated", "edited"):
        searches = Search(log, full), Search(log, thin)
        rows = []
        for start, length in again:
            raw = log.read(start, length)
            if what == "edited":
                raw = edited(raw, dice)
            rows.append((start, len(raw), *(search.copied(raw) for search in searches)))
        total, most, few = (sum(row[i] for row in rows) for i in (1, 2, 3))
        old = [row for row in rows if row[0] < size // 2]
        yield Kept(
            what,
            size,
            thin.size,
            thin.size + beside(size),
            total,
            most,
            few,
            few / most,
            sum(r[3] for r in old) / sum(r[2] for r in old),
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log", type=units.size, default=4 << 30, help="bytes of log (default 4GiB)")
    parser.add_argument(
        "--memory", type=float, default=1000 / THIN, help="MB of index per GB of log (default: that of a box)"
    )
    parser.add_argument("--places", type=int, default=300, help="stretches that come again (default 300)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    started = time.process_time()
    for row in measure(options.log, options.memory / 1000, options.places):
        line = json.dumps(asdict(row)) if options.json else text(row)
        sys.stdout.write(line + "\n")
    sys.stderr.write(f"{time.process_time() - started:.0f} s of CPU\n")


def text(row: Kept) -> str:
    """The result line."""
    per_log = f"{1000 * row.index / row.log:.2f} MB/GB, {1000 * row.ram / row.log:.2f} with all else"
    return (
        f"{row.what}: a log of {row.log / 1e9:.1f} GB with {row.index / 1e6:.0f} MB of index ({per_log}) "
        f"keeps {row.kept:.1%} of a full index's reduction "
        f"({row.oldest_half_kept:.1%} in the older half; full {row.full / row.bytes:.1%} of {row.bytes:,} bytes)"
    )


if __name__ == "__main__":
    main()
