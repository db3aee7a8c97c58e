"""Whether an address is free on a bridge: asked as a machine asks before it takes one (RFC 5227 section 2.1, RFC 4861).

Packet sockets, for the kernel's own neighbour table only asks where there is a route.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from vmhost.errors import VmError

ASKED, WAIT_S = 3, 1.0  # times, and seconds for an answer to each: a bridge may just have come up

_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_TYPE = 0x0806
_ASK = 1
_SOLICITATION, _ADVERTISEMENT = 135, 136
_NEIGHBOUR = struct.Struct("!BBHI16s")


async def check_free(bridge: str, text: str) -> None:
    """VmError if a machine in the bridge, or this box, has that address."""
    address = ip_address(text)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    if _is_ours(family, text):
        raise VmError("refused", f"{text} is an address of this box; choose a free one for the directory")
    try:
        if isinstance(address, IPv4Address):
            mac = await _by_arp(bridge, address)
        else:
            mac = await _by_solicitation(bridge, address)
    except OSError as error:
        raise VmError(
            "refused",
            f"bridge: nobody can be asked in {bridge} ({error.strerror}); `ip link show type bridge` lists them",
        ) from None
    if mac:
        raise VmError(
            "refused",
            f"{text} answers in {bridge} already, at {mac}: two machines with one address disturb each other; switch "
            "that one off, or stage another --address",
        )


def _is_ours(family: int, text: str) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        try:
            asked.bind((text, 0))
        except OSError:
            return False
        return True


def _mac(bridge: str) -> bytes:
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as asked:
        asked.bind((bridge, 0))
        found: bytes = asked.getsockname()[4]
        return found


def arp_request(mac: bytes, address: IPv4Address) -> bytes:
    """A probe: who sends it names no address of its own, so that nobody learns one from it."""
    body = _ARP.pack(1, 0x0800, 6, 4, _ASK, mac, bytes(4), bytes(6), address.packed)
    return b"\xff" * 6 + mac + struct.pack("!H", _ARP_TYPE) + body


def arp_answer(frame: bytes, address: IPv4Address) -> bytes:
    """The MAC address of who has `address`; empty if this says nothing of it."""
    if len(frame) < 14 + _ARP.size:
        return b""
    *_, _, mac, sender, _, _ = _ARP.unpack_from(frame, 14)
    return mac if sender == address.packed else b""


async def _by_arp(bridge: str, address: IPv4Address) -> str:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP_TYPE)) as asked:
        asked.bind((bridge, _ARP_TYPE))
        return await _ask(
            asked,
            lambda: asked.send(arp_request(_mac(bridge), address)),
            lambda frame: arp_answer(frame, address),
        )


def advertised(message: bytes, address: IPv6Address) -> bytes:
    """Of whom an ICMPv6 message says that it has `address`: its MAC address, zeroes if it does not say; or empty."""
    if len(message) < _NEIGHBOUR.size:
        return b""
    kind, _, _, _, target = _NEIGHBOUR.unpack_from(message)
    if kind != _ADVERTISEMENT or target != address.packed:
        return b""
    option = message[_NEIGHBOUR.size :]
    return option[2:8] if option[:2] == b"\x02\x01" and len(option) >= 8 else bytes(6)


async def _by_solicitation(bridge: str, address: IPv6Address) -> str:
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as asked:
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, bridge.encode())
        asked.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        group = str(IPv6Address(bytes.fromhex("ff0200000000000000000001ff") + address.packed[-3:]))
        # With our own address, which Linux wants to answer to.
        question = _NEIGHBOUR.pack(_SOLICITATION, 0, 0, 0, address.packed) + b"\x01\x01" + _mac(bridge)
        where = (group, 0, 0, socket.if_nametoindex(bridge))
        return await _ask(
            asked,
            lambda: asked.sendto(question, where),
            lambda message: advertised(message, address),
        )


async def _ask(asked: socket.socket, send: Callable[[], object], read: Callable[[bytes], bytes]) -> str:
    """The MAC address that is read from an answer; empty if none comes."""
    asked.setblocking(False)
    loop = asyncio.get_running_loop()
    for _ in range(ASKED):
        send()
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    if mac := read(await loop.sock_recv(asked, 2048)):
                        return mac.hex(":")
        except TimeoutError:
            continue
    return ""
