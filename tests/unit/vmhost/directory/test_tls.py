"""Who trusts a directory's certificate trusts that server, and nobody whom its key vouches for."""

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vmhost.directory import tls

HOST, OTHER = "dc1.ad.example.com", "bank.example.com"


def _forged(made: dict[str, str]) -> dict[str, str]:
    """A certificate of another server, by the key of this one."""
    signer = serialization.load_pem_private_key(made["key"].encode(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(made["cert"].encode())
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, OTHER)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(issuer.not_valid_before_utc)
        .not_valid_after(issuer.not_valid_before_utc + datetime.timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(OTHER)]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {"key": secret.decode(), "cert": certificate.public_bytes(pem).decode() + made["cert"]}


def _shake_hands(server: dict[str, str], ca: str, host: str, scratch: Path) -> None:
    """A client that trusts `ca` speaks to the `server`; ssl.SSLError if it does not believe it."""
    file = scratch / "server.pem"
    file.write_text(server["key"] + server["cert"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cadata=ca).wrap_bio(to_client, to_server, server_hostname=host)
    serving = context.wrap_bio(to_server, to_client, server_side=True)
    for end in (client, serving, client, serving):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue


def test_a_directory_vouches_for_itself_alone(tmp_path: Path) -> None:
    made = tls.make(HOST, "10.1.0.10/24")
    _shake_hands(made, made["ca"], HOST, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"invalid CA|not a CA"):
        _shake_hands(_forged(made), made["ca"], OTHER, tmp_path)
