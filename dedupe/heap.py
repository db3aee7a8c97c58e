"""Keeps freed memory with the process."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEPT = 64 << 20


def keep_heap() -> bool:
    """Let malloc keep up to 64 MiB of freed memory instead of giving it back after every block.

    Each block allocates and frees a few hundred KiB; faulting those pages in anew costs a third of a decode. Call it
    once when the process starts. False where the C library has no mallopt (musl): then nothing has changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, KEPT) and mallopt(_M_MMAP_THRESHOLD, KEPT // 4))


def trim_heap() -> None:
    """Give freed memory back all the same, also from the middle of the heap; takes milliseconds, without the GIL."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
