"""A box's identity: one key pair with a self-signed certificate that its peers pin.

There is no certificate authority and no name in it: a peer is who its configuration says holds that key. The file is
PEM, private key first, then the certificate, mode 0600.
"""

from __future__ import annotations

import base64
import datetime
import errno
import hashlib
import os
import ssl
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from appliance.lanes import hint
from vmhost import durable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

_HEADER = "-----BEGIN CERTIFICATE-----"


class IdentityError(Exception):
    """A key file cannot be used: `problem` says why, `remedy` what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


@dataclass(frozen=True)
class Identity:
    """This box's own key: where it is, and the certificate (DER) that peers know it by."""

    path: Path
    certificate: bytes

    @property
    def public(self) -> str:
        """The line for `peers.key` on the other boxes: the certificate in base64."""
        return base64.b64encode(self.certificate).decode()


def fingerprint(der: bytes) -> str:
    """A short name of a certificate for people to compare: SHA256:… in base64, as ssh prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")


def create(path: Path) -> Identity:
    """Make a new key (ECDSA P-256) at `path`; FileExistsError rather than overwrite one, OSError as it comes."""
    # Slow to import, and only this function needs it.
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    pem, certificate = certify(ec.generate_private_key(ec.SECP256R1()), serial=x509.random_serial_number())
    whole = path.with_name(f"{path.name}.made")
    durable.replace(whole, pem, mode=0o600)
    try:
        os.link(whole, path)  # half a key would be worse than none
    finally:
        whole.unlink()
    durable.sync(path.parent)
    return Identity(path, certificate)


def next_path(path: Path) -> Path:
    """Where the key is that is going to take the place of the one at `path`."""
    return path.with_name(path.name + ".next")


def certify(
    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, *, serial: int
) -> tuple[bytes, bytes]:
    """A key and its self-signed certificate: both in PEM, then the certificate in DER."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    # A name of its own: OpenSSL looks trust anchors up by name, and a box pins many.
    number = x509.SubjectKeyIdentifier.from_public_key(private.public_key()).digest.hex()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"branchline {number}")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(serial)
        # Always valid: a box whose clock battery is dead must still find its peer. RFC 5280, 4.1.2.5 has the end.
        .not_valid_before(datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC))
        # Not an authority: what this key signs is nobody's identity.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, None if isinstance(private, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    return pem, certificate.public_bytes(serialization.Encoding.DER)


def load_identity(path: Path) -> Identity:
    """Read the key file at `path` and check that it is private, complete and matches; IdentityError if not."""
    make = f"make one with `branchline key new {path}`"
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            pem = file.read(65536).decode("ascii", "replace") if stat.S_ISREG(status.st_mode) else ""
    except FileNotFoundError:
        raise IdentityError(f"there is no key file {path}", make) from None
    except OSError as error:
        raise IdentityError(
            f"the key file {path} cannot be read ({error.strerror})",
            "let the user that runs branchline own it, mode 0600",
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise IdentityError(f"{path} is not a file", make)
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise IdentityError(
            f"the key file {path} is open to other users (mode {mode:04o})",
            f"if nobody can have copied it: `chmod 600 {path}`; else make a new key",
        )
    _, header, rest = pem.partition(_HEADER)
    try:
        certificate = ssl.PEM_cert_to_DER_cert(header + rest)
        # Parses both and that they belong together. The empty password keeps OpenSSL from asking the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, password=b"")
    except (ValueError, OSError):
        raise IdentityError(f"{path} does not hold a private key and its certificate", make) from None
    return Identity(path, certificate)


def is_certificate(der: bytes) -> bool:
    """Whether `der` is one certificate that TLS can pin."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
    except (ValueError, OSError):
        return False
    return True


class _Dialler(ssl.SSLContext):
    """Says in the ClientHello, to whom it concerns, which box is coming."""

    _certificate: bytes

    def __new__(cls, certificate: bytes) -> Self:
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context._certificate = certificate
        return context

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        options["server_hostname"] = hint.make(self._certificate)
        return super().wrap_socket(*arguments, **options)


def tls_context(*, server_side: bool, identity: Identity, peer_certs: Iterable[bytes]) -> ssl.SSLContext:
    """TLS 1.3 with both sides proving their keys.

    Only holders of a key in `peer_certs` (DER) get through the handshake. Which one it was is for the caller to see:
    compare `getpeercert(binary_form=True)` with the peers' certificates. ssl.SSLError if a certificate is not one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if server_side else _Dialler(identity.certificate)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # a peer is its key; addresses and names may change
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= (
        ssl.VERIFY_X509_PARTIAL_CHAIN
    )  # look for the very certificate first, then for issuers
    if server_side:
        context.num_tickets = 0  # lanes are long-lived; a ticket would only be a second way in
    for certificate in peer_certs:
        context.load_verify_locations(cadata=certificate)
    context.load_cert_chain(identity.path, password=b"")
    return context


def _created(path: str) -> int:
    """`create`; 0, or the number of the OSError."""
    try:
        create(Path(path))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


if __name__ == "__main__":
    from vmhost import apart

    apart.answer(_created)
