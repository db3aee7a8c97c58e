"""The codec's figures on given contents: encoder and decoder in one process, one cache, every byte compared."""

import ctypes
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass

from dedupe.block import Buffer
from dedupe.cache import Cache
from dedupe.errors import BadBlock
from dedupe.literals import Effort
from dedupe.window import DecodeWindow, EncodeWindow

BLOCK = 256 << 10  # what a bulk flow hands over in one go
_REPEATS = 7
_libc = ctypes.CDLL(None)
_libc.memcmp.argtypes = _libc.memcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]


@dataclass(frozen=True, slots=True)
class Measured:
    """One content. Speeds are original bytes (1e6) to a second of CPU time; index and log as they are after it."""

    file: str
    bytes: int
    out_bytes: int
    copies: int  # bytes that COPY tokens stand for
    literals: int  # bytes that LITERAL tokens stand for
    encode_mb_s: float
    decode_mb_s: float
    ok: bool
    index_bytes: int  # memory of the encoder's index
    log_bytes: int  # in the encoder's log


@dataclass(frozen=True, slots=True)
class Machine:
    """What one core does with memory that is already there: MB (1e6) to a second of CPU time."""

    memcpy_mb_s: float
    memcmp_mb_s: float


def machine(size: int = 64 << 20) -> Machine:
    """The medians of a few runs over `size` bytes."""
    left, right = ctypes.create_string_buffer(size), ctypes.create_string_buffer(size)
    ctypes.memset(left, 1, size)
    copying, comparing = [], []
    for _ in range(_REPEATS):
        started = time.thread_time()
        _libc.memcpy(right, left, size)
        copied = time.thread_time()
        different = _libc.memcmp(right, left, size)
        comparing.append(time.thread_time() - copied)
        copying.append(copied - started)
        if different:
            raise RuntimeError("memory does not hold what was copied into it")
    return Machine(*(round(size / statistics.median(times) / 1e6) for times in (copying, comparing)))


class Bench:
    """Two caches that share a session; contents go from one to the other."""

    def __init__(self, *, capacity: int, effort: Effort) -> None:
        """capacity: bytes of log that may be referred to; ValueError when the cache refuses it."""
        self._effort = effort
        self._sender, self._receiver = Cache(capacity=capacity), Cache(capacity=capacity)
        offers = self._sender.offer(), self._receiver.offer()
        self._sender.accept(offers[1])
        self._receiver.accept(offers[0])

    def prepare(self, length: int) -> None:
        """Make memory ready for `length` bytes: a box does that when a peer comes up, not under traffic."""
        self._sender.prepare(length)
        self._receiver.prepare(length)

    def run(self, name: str, blocks: Iterable[Buffer]) -> Measured:
        """Carry one content across as one flow, in blocks of at most 4 MiB. ok: it arrived as it was."""
        sender, receiver = self._sender, self._receiver
        out, into = EncodeWindow(), DecodeWindow()
        length = wire = copies = literals = 0
        encoding = decoding = 0.0
        ok = True
        for raw in blocks:
            started = time.thread_time()
            block = sender.encode(raw, effort=self._effort, window=out)
            encoded = time.thread_time()
            try:
                got = receiver.decode(block.wire, window=into, limit=len(raw))
            except BadBlock:
                got = None
            decoding += time.thread_time() - encoded
            encoding += encoded - started
            if got == raw:
                sender.acknowledge(block)
            else:
                sender.reject(block)
                ok = False
            length += len(raw)
            wire += len(block.wire)
            copies += block.copied
            literals += block.literal
        stats = sender.stats()
        return Measured(
            file=name,
            bytes=length,
            out_bytes=wire,
            copies=copies,
            literals=literals,
            encode_mb_s=_speed(length, encoding),
            decode_mb_s=_speed(length, decoding),
            ok=ok,
            index_bytes=stats.index,
            log_bytes=stats.written_log,
        )


def _speed(length: int, seconds: float) -> float:
    return round(length / max(seconds, 1e-9) / 1e6, 1)
