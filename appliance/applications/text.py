"""Protocols that begin with words."""

from __future__ import annotations

import re
from typing import Final

from appliance.applications.protection import Recognised

_METHODS: Final = re.compile(
    rb"(GET|POST|PUT|HEAD|DELETE|OPTIONS|PATCH|TRACE|[A-Z][A-Z-]{2,19}) \S+ HTTP/1\.[01]\r?\n"
)
_IPP: Final = b"application/ipp"
_GIT: Final = re.compile(rb"[0-9a-f]{4}git-(upload|receive)-(pack|archive) ")
_REDIS: Final = re.compile(rb"\*\d{1,7}\r\n\$\d{1,9}\r\n")
_PRINT: Final = (b"\x1b%-12345X", b"%!PS", b"@PJL")

# What the server, or the client, says first.
_SERVER_FIRST: Final[tuple[tuple[bytes, str], ...]] = (
    (b"RFB 00", "vnc"),
    (b"@RSYNCD:", "rsync"),
    (b"+OK", "pop3"),
    (b"* OK", "imap"),
    (b"* PREAUTH", "imap"),
    (b"\x7f\x7fICA", "ica"),
    (b"HTTP/1.", "http"),
    (b"RTSP/1.", "rtsp"),
    (b"SIP/2.0", "sip"),
)
_CLIENT_FIRST: Final[tuple[tuple[bytes, str], ...]] = (
    (b"@RSYNCD:", "rsync"),
    (b"PRI * HTTP/2.0\r\n", "http"),
    (b"AMQP", "amqp"),
    (b"\x13BitTorrent protocol", "bittorrent"),
)
_NEWS: Final = (b"200 ", b"201 ")


def recognise(client: bytes, server: bytes) -> Recognised:
    """The protocol and its protection, or None."""
    if client.startswith(b"SSH-") or server.startswith(b"SSH-"):
        return "ssh", "encrypted"
    if client[:1].isalpha() and _METHODS.match(client):
        if client.startswith(b"CONNECT "):
            return "http-proxy", "encrypted"  # what a browser asks a proxy for only to speak TLS through it
        return ("ipp" if _IPP in client else "http"), ""
    name = _first(client, _CLIENT_FIRST) or _first(server, _SERVER_FIRST)
    if name:
        return name, ""
    if b" SIP/2.0\r\n" in client[:256]:
        return "sip", ""
    if b" RTSP/1.0\r\n" in client[:512]:
        return "rtsp", ""
    if server.startswith(b"220"):
        return _greeting(client, server), ""
    if _GIT.match(client):
        return "git", ""
    if _REDIS.match(client):
        return "redis", ""
    if client.startswith(_PRINT):
        return "print", ""
    if server.startswith(_NEWS) and client[:4].upper() in {b"MODE", b"CAPA", b"GROU", b"LIST"}:
        return "nntp", ""
    return None


def _first(data: bytes, marks: tuple[tuple[bytes, str], ...]) -> str:
    return next((name for mark, name in marks if data.startswith(mark)), "")


def _greeting(client: bytes, server: bytes) -> str:
    """Mail and file servers greet alike: the client's first word tells, before it the greeting."""
    word = client[:4].upper()
    if word in {b"EHLO", b"HELO", b"LHLO"}:
        return "smtp"
    if word in {b"USER", b"AUTH", b"FEAT"}:
        return "ftp"
    return "smtp" if b"SMTP" in server.upper() else "ftp"
