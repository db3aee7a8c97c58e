"""Numbered UDP datagrams across the lab, to see what its WAN really does to packets."""

import select
import socket
import struct
import time
from dataclasses import dataclass, field

from appliance.lab.host import Host

_NUMBER = struct.Struct("!I")
HEADERS = {socket.AF_INET: 14 + 20 + 8, socket.AF_INET6: 14 + 40 + 8}  # Ethernet, IP, UDP


@dataclass
class ProbeResult:
    """What came back. order: numbers as they arrived at the far end. rtts: seconds, by number."""

    order: list[int] = field(default_factory=list)
    rtts: dict[int, float] = field(default_factory=dict)

    @property
    def overtaken(self) -> int:
        """How many probes arrived after one that was sent later."""
        highest = -1
        count = 0
        for number in self.order:
            count += number < highest
            highest = max(highest, number)
        return count


def probe(
    near: Host,
    far: Host,
    count: int,
    *,
    interval: float = 0.0,
    family: socket.AddressFamily = socket.AF_INET,
    payload: int = 32,
    patience: float = 5.0,
) -> ProbeResult:
    """Send `count` datagrams from near to far, which returns each.

    interval: seconds between them. payload: bytes of each, at least 4. Ends when all are back or nothing has
    moved for `patience` seconds.
    """
    result = ProbeResult()
    sent: dict[int, float] = {}
    with near.socket(family, socket.SOCK_DGRAM) as here, far.socket(family, socket.SOCK_DGRAM) as there:
        for end in (here, there):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        there.bind((far.address(family), 0))
        here.connect(there.getsockname())
        due = moved = time.monotonic()
        while len(result.rtts) < count:
            now = time.monotonic()
            if len(sent) < count and now >= due:
                number = len(sent)
                sent[number] = now
                here.send(_NUMBER.pack(number).ljust(payload, b"\0"))
                due += interval
                moved = now
            if now - moved > patience:
                break
            wait = patience if len(sent) == count else max(0.0, due - now)
            ready, _, _ = select.select([here, there], [], [], wait)
            if there in ready:
                data, address = there.recvfrom(65536)
                result.order.append(_NUMBER.unpack_from(data)[0])
                there.sendto(data, address)
                moved = now
            if here in ready:
                (number,) = _NUMBER.unpack_from(here.recv(65536))
                result.rtts[number] = time.monotonic() - sent[number]
                moved = now
    return result
