"""Signatures of bundles: Ed25519 (RFC 8032). A key is written as one line of base64, its 32 public bytes."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vmhost import apart
from vmhost.errors import VmError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_KEY_BYTES = 32


class BundleKey(str):
    """A public key that bundles may be signed by."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """ValueError if it is none."""
        try:
            raw = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
        except binascii.Error:
            raw = b""
        if len(raw) != _KEY_BYTES:
            raise ValueError(
                f"{value!r} is not a key of bundles; write the line that `branchline vm build key` printed"
            )
        return cls(value)


def create(path: Path) -> BundleKey:
    """Make a new private key at `path` (PEM, mode 0600); its public key. OSError as it comes."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(pem)
    return _public(private)


def public(path: Path) -> BundleKey:
    """The public key of the private key at `path`; VmError if there is none."""
    return _public(_load(path))


def sign(content: bytes, path: Path) -> bytes:
    """The signature of `content` by the private key at `path`; VmError if there is none."""
    return _load(path).sign(content)


def is_signed(content: bytes, signature: bytes, trusted: Iterable[BundleKey]) -> bool:
    """Whether one of the `trusted` keys has signed `content`. It blocks for 0.2 s."""
    texts = (base64.b64encode(content).decode(), base64.b64encode(signature).decode())
    return apart.ask(__name__, *texts, [str(key) for key in trusted]) is True


def _is_signed(content: str, signature: str, trusted: list[str]) -> bool:
    """Of base64."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    for key in trusted:
        try:
            public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key))
            public.verify(base64.b64decode(signature), base64.b64decode(content))
        except InvalidSignature:
            continue
        return True
    return False


def _load(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise VmError(
            "refused", f"{path}: {error.strerror}; `branchline vm build key {path}` makes a key"
        ) from None
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise VmError(
            "refused",
            f"{path} is not an Ed25519 key without a passphrase; `branchline vm build key` makes one",
        )
    return key


def _public(private: Ed25519PrivateKey) -> BundleKey:
    return BundleKey(base64.b64encode(private.public_key().public_bytes_raw()).decode())


if __name__ == "__main__":
    apart.answer(_is_signed)
