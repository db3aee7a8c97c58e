"""Databases: who speaks which wire protocol, and whether it goes on in TLS."""

from __future__ import annotations

import re
import struct
from typing import Final

from appliance.applications.protection import Recognised

_PG_STARTUP: Final = struct.pack("!HH", 3, 0)
_PG_SSL: Final = struct.pack("!IHH", 8, 1234, 5679)
_PG_GSS: Final = struct.pack("!IHH", 8, 1234, 5680)
_MYSQL_GREETING: Final = re.compile(rb"..\x00\x00\x0a[0-9][\x20-\x7e]{2,60}\x00", re.DOTALL)
_MYSQL_SSL: Final = 0x0800  # of the client's capabilities
_TDS_PRELOGIN, _TDS_RESPONSE = 0x12, 0x04
_TDS_ENCRYPTION: Final = 1
_TDS_ENCRYPTED: Final = {1, 3}  # on, required; 0 encrypts the login only
_TNS_CONNECT: Final = 1
_MONGO: Final = {2004, 2013}  # OP_QUERY, OP_MSG


def recognise(client: bytes, server: bytes) -> Recognised:
    """The database and its protection, or None."""
    if client[:8] in {_PG_SSL, _PG_GSS}:
        return "postgresql", "encrypted" if server[:1] in {b"S", b"G"} else ""
    if len(client) >= 9 and client[4:8] == _PG_STARTUP and int.from_bytes(client[:4], "big") <= 10_000:
        return "postgresql", ""
    if _MYSQL_GREETING.match(server):
        capabilities = int.from_bytes(client[4:6], "little")
        return "mysql", "encrypted" if client[:3] == b"\x20\0\0" and capabilities & _MYSQL_SSL else ""
    if _is_tds(client, _TDS_PRELOGIN):
        return "mssql", "encrypted" if _tds_encryption(server) in _TDS_ENCRYPTED else ""
    if (
        len(client) >= 58
        and client[4] == _TNS_CONNECT
        and client[2:4] == b"\0\0"
        and b"(CONNECT_DATA=" in client
    ):
        return "oracle", ""
    if len(client) >= 16:
        length, _, answered, code = struct.unpack_from("<iiii", client)
        if code in _MONGO and 16 < length < 1 << 26 and not answered:
            return "mongodb", ""
    return None


def _is_tds(data: bytes, kind: int) -> bool:
    return (
        len(data) >= 12
        and data[0] == kind
        and data[1] in {0, 1}
        and 8 < int.from_bytes(data[2:4], "big") < 4096
    )


def _tds_encryption(server: bytes) -> int | None:
    """What the server's PRELOGIN decides (MS-TDS, 2.2.6.5)."""
    if not _is_tds(server, _TDS_RESPONSE):
        return None
    at = 8
    while at + 5 <= len(server) and server[at] != 0xFF:
        offset = int.from_bytes(server[at + 1 : at + 3], "big")
        if server[at] == _TDS_ENCRYPTION:
            value = server[8 + offset : 9 + offset]
            return value[0] if value else None
        at += 5
    return None
