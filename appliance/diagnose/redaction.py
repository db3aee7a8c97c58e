"""What must not leave the box, and how it is taken out. Pure.

Two fences, one behind the other: values of telling names go out of what has names (`redact`), and the secrets that this
box is known to have go out of every byte that is written (`Scrubber`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any, Final

from appliance.identity import fingerprint

REMOVED: Final = "(removed)"

_SECRET_NAMES: Final = re.compile(
    r"(^|_)(key|keys|token|tokens|secret|password|passphrase|psk|credential|private)(_|$)", re.IGNORECASE
)
_PRIVATE_PEM: Final = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_INVITATION: Final = re.compile(rb"branchline1\.[A-Za-z0-9_=-]{16,}")  # what `branchline enrol invite` prints
_LEAST_SECRET: Final = 8  # bytes; what is shorter is found in anything


def redact(tree: Any) -> Any:
    """Plain values without those of telling names. A pinned public key becomes its fingerprint."""
    if isinstance(tree, dict):
        return {
            key: _removed(value) if _SECRET_NAMES.search(str(key)) else redact(value)
            for key, value in tree.items()
        }
    if isinstance(tree, list | tuple):
        return [redact(value) for value in tree]
    return tree


def _removed(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_removed(one) for one in value]
    if isinstance(value, str):
        try:
            der = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            der = b""
        if der[:1] == b"\x30" and len(der) > 128:
            return fingerprint(der)
    return value if value in (None, "", True, False) else REMOVED


def secrets_of(pem: bytes) -> list[bytes]:
    """All that would give a private key file away: its lines, and its content in DER."""
    found = []
    for block in _PRIVATE_PEM.finditer(pem):
        lines = [line.strip() for line in block.group().splitlines()[1:]]
        body = [line for line in lines if line and not line.startswith(b"-----")]
        found += body
        try:
            found.append(base64.b64decode(b"".join(body)))
        except (binascii.Error, ValueError):
            continue  # the lines alone then
    return found


class Scrubber:
    """Takes known secrets out of bytes, whatever they are part of."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = sorted({one for one in secrets if len(one) >= _LEAST_SECRET}, key=len, reverse=True)

    def clean(self, data: bytes) -> bytes:
        data = _INVITATION.sub(REMOVED.encode(), _PRIVATE_PEM.sub(REMOVED.encode(), data))
        for secret in self._secrets:
            data = data.replace(secret, REMOVED.encode())
        return data
