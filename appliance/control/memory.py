"""What is done so that the control plane stays small: it lives for months, and seldom does anything large."""

from __future__ import annotations

import ctypes
from typing import Final

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h of glibc
_LARGE: Final = 128 * 1024


def give_back() -> None:
    """Have memory that is free go back to the kernel; to be called before threads begin.

    By itself glibc gives each thread a heap of its own, and keeps as much as the largest block that was ever freed.
    """
    libc = ctypes.CDLL(None)
    for option, value in ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _LARGE)):
        libc.mallopt(option, value)
