"""Directories, remote procedure calls and remote desktops: what a Windows network speaks besides files."""

from __future__ import annotations

import struct
from typing import Final

from appliance.applications.protection import Protection, Recognised

_LDAP_REQUESTS: Final = {0x60, 0x63, 0x66, 0x68, 0x4A, 0x6C, 0x6E, 0x77, 0x42}
_LDAP_RESPONSES: Final = {0x61, 0x64, 0x65, 0x73, 0x78}
_LDAP_STARTTLS: Final = b"1.3.6.1.4.1.1466.20037"
_KERBEROS: Final = {0x6A, 0x6B, 0x6C, 0x6D, 0x7E}
_DCERPC: Final = (b"\x05\x00", b"\x05\x01")
_DCERPC_KINDS: Final = {0, 2, 3, 11, 12, 13, 14, 15, 16}
_DCERPC_LEVELS: Final[dict[int, Protection]] = {4: "signed", 5: "signed", 6: "encrypted"}
_TELNET: Final = {0xFB, 0xFC, 0xFD, 0xFE}


def recognise(client: bytes, server: bytes) -> Recognised:
    """The protocol and its protection, or None."""
    if _is_ldap(client, _LDAP_REQUESTS) or _is_ldap(server, _LDAP_RESPONSES):
        return "ldap", "encrypted" if _LDAP_STARTTLS in client else ""
    if _is_kerberos(client):
        return "kerberos", ""
    if client[:2] in _DCERPC and len(client) >= 16 and client[2] in _DCERPC_KINDS and client[4] in {0, 0x10}:
        return "dcerpc", _dcerpc_level(client)
    if client[:2] == b"\x03\x00" and len(client) >= 11 and client[5] == 0xE0:
        return _over_tpkt(client, server)
    if _is_dns(client):
        return "dns", ""
    if b"MQTT" in client[2:10] and client[:1] == b"\x10":
        return "mqtt", ""
    if client[:6] in {b"l\0\x0b\0\0\0", b"B\0\0\x0b\0\0"}:
        return "x11", ""
    for data in (server, client):
        if len(data) >= 3 and data[0] == 0xFF and data[1] in _TELNET:
            return "telnet", ""
    return None


def _is_ldap(data: bytes, operations: set[int]) -> bool:
    """An LDAPMessage (RFC 4511): SEQUENCE, messageID INTEGER, an operation."""
    if len(data) < 7 or data[0] != 0x30:
        return False
    at = 2 + (data[1] & 0x7F if data[1] & 0x80 else 0)
    if at > 6 or len(data) < at + 2 or data[at] != 2 or not 1 <= data[at + 1] <= 4:
        return False
    at += 2 + data[at + 1]
    return at < len(data) and data[at] in operations


def _is_kerberos(data: bytes) -> bool:
    """A message behind its length (RFC 4120, section 7.2.2)."""
    return len(data) >= 10 and data[4] in _KERBEROS and data[:2] == b"\0\0" and data[5] & 0x80 == 0x80


def _dcerpc_level(data: bytes) -> Protection:
    """The level of authentication that the client binds with, in the trailer of its first fragment."""
    order = "<" if data[4] & 0x10 else ">"
    fragment, auth = struct.unpack_from(f"{order}HH", data, 8)
    at = fragment - auth - 7
    return _DCERPC_LEVELS.get(data[at], "") if auth and 16 <= at < len(data) else ""


def _over_tpkt(client: bytes, server: bytes) -> tuple[str, Protection]:
    """A remote desktop asks for a protocol or names its user; what else opens like this is a machine's controller.

    The protection is that of TLS or, of old, RDP's own: there is no remote desktop in the clear.
    """
    asks = b"mstshash=" in client or client[11:14] == b"\x01\x00\x08" or server[11:12] in {b"\x02", b"\x03"}
    return ("rdp", "encrypted") if asks else ("iso-tsap", "")


def _is_dns(data: bytes) -> bool:
    """One question, behind its length (RFC 1035, section 4.2.2)."""
    if len(data) < 19:
        return False
    length, _, flags, questions, answers, authorities = struct.unpack_from("!6H", data)
    return 17 <= length <= 512 and questions == 1 and not (flags & 0xFECF or answers or authorities)
