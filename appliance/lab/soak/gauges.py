"""What both boxes hold: memory and descriptors of each process, connections and sockets in the kernel."""

import os
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path

from appliance.intercept import netlink
from appliance.lab.pair import Box, Pair, Part

PARTS: tuple[Part, ...] = ("data", "control", "supervisor")
MIB = 1 << 20
_GET_CONNTRACK = 1 << 8 | 1


@dataclass(frozen=True)
class Reading:
    """By "box part": pids, rss in MiB, descriptors. By box: conntrack entries and TCP sockets of its namespace."""

    pids: dict[str, int] = field(default_factory=dict)
    rss: dict[str, float] = field(default_factory=dict)
    descriptors: dict[str, int] = field(default_factory=dict)
    connections: dict[str, int] = field(default_factory=dict)
    sockets: dict[str, int] = field(default_factory=dict)


def read(pair: Pair) -> Reading:
    reading = Reading()
    for box in pair.boxes:
        for part in PARTS:
            pids = box.pids(part)
            if len(pids) == 1:  # else it is being started again, which the pids will show
                _look(reading, f"{box.id} {part}", pids[0])
        reading.connections[box.id] = box.host.call(_connections)
        reading.sockets[box.id] = _sockets(box)
    return reading


def _look(reading: Reading, name: str, pid: int) -> None:
    process = Path("/proc") / str(pid)
    reading.pids[name] = pid
    reading.rss[name] = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB
    reading.descriptors[name] = len(os.listdir(process / "fd"))


def _connections() -> int:
    """Conntrack's entries, without those that are over: its own count has them for up to a minute more."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_NETFILTER) as sock:
        body = struct.pack("!BBH", socket.AF_UNSPEC, 0, 0)
        sock.send(netlink.message(_GET_CONNTRACK, netlink.REQUEST | netlink.DUMP, body))
        return sum(1 for _ in netlink.dump(sock))


def _sockets(box: Box) -> int:
    """TCP sockets in use, those without a process too."""
    count = 0
    for name, word in (("sockstat", "TCP:"), ("sockstat6", "TCP6:")):
        for line in box.host.read(f"/proc/thread-self/net/{name}").splitlines():
            if line.startswith(word):
                count += int(line.split()[2])
    return count
