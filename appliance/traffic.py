"""Classes of what a box sends into a WAN, and the numbers by which the kernel's shaper knows them.

A packet's class is its priority in the kernel: the data plane sets it on its lanes' sockets, control's rules set it on
what passes through, and control's htb classes have the same numbers. Without a shaper the number means nothing.
"""

from __future__ import annotations

import enum
from typing import Final

MAJOR: Final = 0x4C42
PART: Final = 0.95  # of a link's rate that is used; the rest keeps the queue on the line empty
MOST_PEERS: Final = 0xFFFF >> 3


class Class(enum.IntEnum):
    """Of the traffic to one peer; the smaller number goes first."""

    EXPRESS = 1  # the express lane
    INTERACTIVE = 2  # what passes through and is marked, or looks, as if somebody waited for it
    BULK = 3  # the bulk lane
    REST = 4  # all else that passes through


def minor(peer: int, traffic: Class | None = None) -> int:
    """The htb class of a peer (counted from 1 in the order of the configuration), or one of the classes in it."""
    if not 1 <= peer <= MOST_PEERS:
        raise ValueError(f"peer number {peer}: 1 to {MOST_PEERS}")
    return peer << 3 | (traffic or 0)


def priority(peer: int, traffic: Class) -> int:
    """What SO_PRIORITY is set to."""
    return MAJOR << 16 | minor(peer, traffic)
