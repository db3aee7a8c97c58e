"""The key and the certificate of a directory's TLS, made on the box: a guest without much processor takes minutes."""

from __future__ import annotations

import datetime
from ipaddress import ip_interface

from vmhost import apart

_YEARS = datetime.timedelta(days=3650)


def make(host: str, address: str) -> dict[str, str]:
    """PEM texts of `key`, `cert` and `ca` for a controller. It blocks for 0.2 s.

    It vouches for itself and for nobody else: whoever trusts it trusts one server, not what its key might sign.
    """
    made: dict[str, str] = apart.ask(__name__, host, address)
    return made


def _make(host: str, address: str) -> dict[str, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(host), x509.IPAddress(ip_interface(address).ip)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + _YEARS)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode()
    public = certificate.public_bytes(pem).decode()
    return {"key": secret, "cert": public, "ca": public}


if __name__ == "__main__":
    apart.answer(_make)
