"""A key and a certificate for a directory's TLS, signed by an authority of its own."""

import datetime
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

_YEAR = datetime.timedelta(days=365)


def make_certificate(directory: Path, host: str, addresses: Sequence[str]) -> None:
    """ca.pem, cert.pem and key.pem in `directory`, under the names that Samba expects."""
    directory.mkdir(exist_ok=True)
    authority, key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)

    def signed(name: x509.Name, public: rsa.RSAPublicKey, extension: x509.ExtensionType) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _YEAR)
            .not_valid_after(now + _YEAR)
            .add_extension(extension, critical=False)
            .sign(authority, hashes.SHA256())
        )

    names = [x509.DNSName(host), *(x509.IPAddress(ip_address(address)) for address in addresses)]
    pem = serialization.Encoding.PEM
    ca = signed(issuer, authority.public_key(), x509.BasicConstraints(ca=True, path_length=None))
    certificate = signed(subject, key.public_key(), x509.SubjectAlternativeName(names))
    (directory / "ca.pem").write_bytes(ca.public_bytes(pem))
    (directory / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (directory / "key.pem").touch(mode=0o600)
    (directory / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    )
