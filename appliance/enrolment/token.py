"""The one-time token: where the centre is, what its key looks like, and a key that opens its door once.

The token's secret is the seed of an Ed25519 key. Both sides make the same certificate of it; the centre pins that
certificate for the time of the invitation and keeps nothing else. So the handshake of TLS 1.3 proves that the branch
has the token, on the very channel that it then speaks on, and nobody without the token learns or changes anything:
the branch looks for the centre's fingerprint before it says a word.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from appliance.identity import Identity

_MARK = "branchline1."
_SUM = 4  # bytes


class TokenError(ValueError):
    """What was given is no token; the message says what to do."""


class Token(msgspec.Struct, frozen=True, array_like=True):
    """`seed`: 32 secret bytes. `centre`: SHA-256 of the centre's certificate. `dial`: where it listens."""

    seed: bytes
    centre: bytes
    branch: str
    dial: tuple[str, ...]

    @classmethod
    def new(cls, centre: bytes, branch: str, dial: tuple[str, ...]) -> Token:
        """A token of a fresh seed, for the centre with that certificate (DER)."""
        return cls(secrets.token_bytes(32), hashlib.sha256(centre).digest(), branch, dial)

    @classmethod
    def parse(cls, text: str) -> Token:
        """From what `str` gives; white space, as a mail program may add it, does not matter. TokenError."""
        text = "".join(text.split())
        if not text.startswith(_MARK):
            raise TokenError(
                f"this is no token; it begins with {_MARK!r}, as `branchline enrol invite` prints it"
            )
        body = text.removeprefix(_MARK)
        try:
            data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
            token = msgspec.msgpack.decode(data[:-_SUM], type=Token)
        except (ValueError, msgspec.MsgspecError):
            token = None
        if token is None or _sum(data[:-_SUM]) != data[-_SUM:]:
            raise TokenError(
                "the token is damaged; paste the whole line that `branchline enrol invite` printed"
            )
        return token

    def __str__(self) -> str:
        data = msgspec.msgpack.encode(self)
        return _MARK + base64.urlsafe_b64encode(data + _sum(data)).decode().rstrip("=")

    def certificate(self) -> bytes:
        """Of the one-time key, DER; always the same for a seed."""
        return _certified(self.seed)[1]

    @contextmanager
    def identity(self) -> Iterator[Identity]:
        """The one-time key for a TLS context, in memory only."""
        pem, certificate = _certified(self.seed)
        descriptor = os.memfd_create("token", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, pem)
            yield Identity(Path(f"/proc/self/fd/{descriptor}"), certificate)
        finally:
            os.close(descriptor)


def _certified(seed: bytes) -> tuple[bytes, bytes]:
    """Key and certificate in PEM, certificate in DER."""
    from cryptography.hazmat.primitives.asymmetric import ed25519

    from appliance.identity import certify

    # Ed25519 signs without randomness, so the whole certificate follows from the seed.
    return certify(ed25519.Ed25519PrivateKey.from_private_bytes(seed), serial=1)


def _sum(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:_SUM]


def _certificate(text: str) -> str:
    """Of the token with that text, in base64."""
    return base64.b64encode(Token.parse(text).certificate()).decode()


if __name__ == "__main__":
    from vmhost import apart

    apart.answer(_certificate)
