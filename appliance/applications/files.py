"""Files and blocks over the network: SMB, NFS and what else travels as Sun RPC, iSCSI."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from appliance.applications.protection import Protection, Recognised

_SMB: Final = {b"\xffSMB", b"\xfeSMB", b"\xfdSMB", b"\xfcSMB"}
_NEGOTIATE, _SESSION_SETUP, _TREE_CONNECT = 0, 1, 3
_SIGNING_REQUIRED: Final = 2
_SESSION_ENCRYPTED: Final = 4
_SHARE_ENCRYPTED: Final = 0x8000
_SIGNED: Final = 8  # flag of a message
_HEADER: Final = 64

_PROGRAMS: Final = {
    100_000: "sunrpc",
    100_003: "nfs",
    100_005: "nfs",
    100_021: "nfs",
    100_024: "nfs",
    100_227: "nfs",
}
_RPCSEC_GSS: Final = 6
_GSS_SERVICES: Final[dict[int, Protection]] = {2: "signed", 3: "encrypted"}

_ISCSI_LOGIN: Final = 0x43


def smb(client: bytes, server: bytes) -> Recognised:
    """SMB over TCP (MS-SMB2, 2.1). A session or share that is encrypted says so while it is set up."""
    if not (_is_smb(client) or _is_smb(server)):
        return None
    protections = {_protection(message) for data in (client, server) for message in _messages(data)}
    if "encrypted" in protections:
        return "smb", "encrypted"
    return "smb", "signed" if "signed" in protections else ""


def _is_smb(data: bytes) -> bool:
    return data[:1] == b"\0" and data[4:8] in _SMB


def _messages(data: bytes) -> Iterator[bytes]:
    """Each message behind its length; the last one may be cut off."""
    at = 0
    while _is_smb(data[at : at + 8]):
        length = int.from_bytes(data[at + 1 : at + 4], "big")
        yield data[at + 4 : at + 4 + length]
        at += 4 + length


def _protection(message: bytes) -> Protection:
    if message.startswith(b"\xfdSMB"):
        return "encrypted"
    if not message.startswith(b"\xfeSMB") or len(message) < _HEADER + 8:
        return ""
    status, command, _, flags = struct.unpack_from("<IHHI", message, 8)
    body = memoryview(message)[_HEADER:]
    if flags & 1 and not status:  # an answer, of success
        if command == _SESSION_SETUP and body[2] & _SESSION_ENCRYPTED:
            return "encrypted"
        if command == _TREE_CONNECT and int.from_bytes(body[4:8], "little") & _SHARE_ENCRYPTED:
            return "encrypted"
        if command == _NEGOTIATE and body[2] & _SIGNING_REQUIRED:
            return "signed"
    # The last message of a set-up and the first connect are signed in any case; later ones where it is agreed on.
    return "signed" if flags & _SIGNED and command > _TREE_CONNECT else ""


def recognise(client: bytes, _server: bytes) -> Recognised:
    """NFS and its relatives, and iSCSI; None if it is neither."""
    calls = list(_calls(client))
    if calls:
        name = next((name for name, _ in calls if name == "nfs"), calls[0][0])
        return name, calls[-1][1]
    if len(client) >= 48 and client[0] == _ISCSI_LOGIN and b"InitiatorName=" in client:
        return "iscsi", ""
    return None


def _calls(data: bytes) -> Iterator[tuple[str, Protection]]:
    """Calls in record marking (RFC 5531, sections 9 and 11), with the protection of RPCSEC_GSS (RFC 2203)."""
    at = 0
    while len(data) >= at + 28:
        mark, _, kind, version, program, *_ = struct.unpack_from("!6I", data, at)
        if kind != 0 or version != 2 or not mark & 1 << 31:
            return
        protection: Protection = ""
        credential = data[at + 28 : at + 52]
        if len(credential) == 24 and int.from_bytes(credential[:4], "big") == _RPCSEC_GSS:
            protection = _GSS_SERVICES.get(int.from_bytes(credential[20:24], "big"), "")
        yield _PROGRAMS.get(program, "sunrpc"), protection
        at += 4 + (mark & 0x7FFF_FFFF)
