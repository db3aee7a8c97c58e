"""Whether a directory's clock goes as ours: by NTP, and by what LDAP and the KDC have told on the way."""

from __future__ import annotations

import asyncio
import os
import time
from typing import cast

from vmhost.health.result import Result
from vmhost.health.target import Directory

MOST_OFFSET_S = 60.0
"""Kerberos refuses at 300 s; what drifts is said well before."""
NTP_WITHIN_S = 1.0
_TO_1900 = 2_208_988_800
_ERA = 2**32


def request(transmit: bytes) -> bytes:
    """A question of SNTP (RFC 4330). `transmit`: 8 bytes that the answer must repeat."""
    return bytes([0x23]) + bytes(39) + transmit


def offset(answer: bytes, transmit: bytes, sent: float, received: float) -> float | None:
    """Seconds the server's clock is ahead, from its answer. None if it is no answer, or the server has no time."""
    if len(answer) < 48 or answer[0] & 7 != 4 or answer[24:32] != transmit:
        return None
    if answer[0] >> 6 == 3 or not 1 <= answer[1] <= 15:
        return None
    arrived, left = (_seconds(answer[at : at + 8], received) for at in (32, 40))
    return ((arrived - sent) + (left - received)) / 2


def _seconds(stamp: bytes, near: float) -> float:
    """Of an NTP time stamp, in the era that is nearest."""
    seconds: float = int.from_bytes(stamp, "big") / _ERA - _TO_1900
    return seconds + round((near - seconds) / _ERA) * _ERA


class _Asking(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.transmit = os.urandom(8)
        self.sent = 0.0
        self.offset: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.sent = time.time()
        cast(asyncio.DatagramTransport, transport).sendto(request(self.transmit))

    def datagram_received(self, data: bytes, _addr: object) -> None:
        found = offset(data, self.transmit, self.sent, time.time())
        if found is not None and not self.offset.done():
            self.offset.set_result(found)

    def error_received(self, _exc: Exception) -> None:
        if not self.offset.done():
            self.offset.set_result(None)


async def by_ntp(address: str, within: float, port: int = 123) -> float | None:
    """Seconds the clock at `address` is ahead; None if no NTP server answers."""
    loop = asyncio.get_running_loop()
    try:
        transport, asking = await loop.create_datagram_endpoint(_Asking, remote_addr=(address, port))
    except OSError:
        return None
    try:
        async with asyncio.timeout(within):
            return await asking.offset
    except TimeoutError:
        return None
    finally:
        transport.close()


async def check(target: Directory, by_ldap: float | None, by_kdc: float | None) -> Result:
    """By the best of what there is."""
    began = time.monotonic()
    found = {
        "NTP": await by_ntp(target.address, min(target.within, NTP_WITHIN_S)),
        "LDAP": by_ldap,
        "the KDC": by_kdc,
    }
    return judge(found, (time.monotonic() - began) * 1000)


def judge(found: dict[str, float | None], latency: float) -> Result:
    """`found`: the offset by each source, the best first. The worst of those that tell counts."""
    told = {source: value for source, value in found.items() if value is not None}
    evidence = ", ".join(
        f"by {source} {value:+.3f} s" if source == "NTP" else f"by {source} {value:+.0f} s"
        for source, value in told.items()
    )
    silent = ", ".join(source for source in found if source not in told)
    evidence = f"ahead of this box: {evidence or 'unknown'}{f'; {silent} did not tell' if silent else ''}"
    ok = bool(told) and max(map(abs, told.values())) <= MOST_OFFSET_S
    remedy = "set both clocks by the same time servers (chronyc makestep); Kerberos refuses at 300 s"
    return Result(name="clock", ok=ok, latency=latency, evidence=evidence, remedy="" if ok else remedy)
