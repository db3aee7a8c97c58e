"""What the kernel has counted of what leaves: by interface, and by class of an interface's shaper.

A hub with fifty branches has two hundred and fifty classes, and they are looked at ten times a second. Reference:
linux/rtnetlink.h, linux/gen_stats.h.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Final

from appliance.control import htb, rtnetlink
from appliance.intercept import netlink
from appliance.traffic import MAJOR

_GET_CLASSES: Final = 42  # RTM_GETTCLASS
_STATS2, _BASIC = 7, 1
_BYTES: Final = struct.Struct("=Q")


def by_interface() -> dict[str, int]:
    """Bytes that have left by each interface of this thread's network namespace."""
    lines = (line.partition(":") for line in Path("/proc/thread-self/net/dev").read_text().splitlines()[2:])
    return {name.strip(): int(counts.split()[8]) for name, _, counts in lines}


def by_class(interface: str) -> dict[int, int]:
    """Minor number → bytes, of our classes; nothing where there is no such interface. Raises OSError."""
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        return {}
    found = {}
    for body in rtnetlink.dump(_GET_CLASSES, htb.head(index)):
        _, handle = htb.meant(body)
        if handle >> 16 == MAJOR:
            stats = netlink.attributes(htb.attributes(body)[_STATS2])
            found[handle & 0xFFFF] = int(_BYTES.unpack_from(stats[_BASIC])[0])
    return found
