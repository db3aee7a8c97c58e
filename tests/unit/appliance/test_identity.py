"""Keys, and who gets through a TLS handshake with them."""

import base64
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.identity import (
    Identity,
    IdentityError,
    create,
    fingerprint,
    is_certificate,
    load_identity,
    tls_context,
)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> list[Identity]:
    directory = tmp_path_factory.mktemp("keys")
    return [create(directory / name) for name in ("branch", "dc", "stranger")]


def test_a_new_key(tmp_path: Path) -> None:
    identity = create(tmp_path / "box.key")
    assert stat.S_IMODE(identity.path.stat().st_mode) == 0o600
    assert load_identity(identity.path) == identity
    assert base64.b64decode(identity.public) == identity.certificate
    assert is_certificate(identity.certificate)
    assert fingerprint(identity.certificate).startswith("SHA256:")
    assert len(identity.public) < 600, "one line that can be pasted"


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    create(tmp_path / "box.key")
    before = (tmp_path / "box.key").read_bytes()
    with pytest.raises(FileExistsError):
        create(tmp_path / "box.key")
    assert (tmp_path / "box.key").read_bytes() == before


def test_a_key_and_another_ones_certificate(tmp_path: Path, boxes: list[Identity]) -> None:
    one, other = (box.path.read_text().split("-----BEGIN CERTIFICATE-----") for box in boxes[:2])
    mixed = tmp_path / "mixed.key"
    mixed.write_text(one[0] + "-----BEGIN CERTIFICATE-----" + other[1])
    mixed.chmod(0o600)
    with pytest.raises(IdentityError, match="does not hold a private key and its certificate"):
        load_identity(mixed)


def test_no_certificate() -> None:
    assert not is_certificate(b"")
    assert not is_certificate(b"\x30\x00")


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends after a handshake in memory, and after each has read what the other sent last."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_side=False),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    waiting = set(ends)
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.discard(end)
            except ssl.SSLWantReadError:
                continue
    assert not waiting
    for end in ends:
        try:
            end.read(1)
        except ssl.SSLWantReadError:
            continue
    return ends


def contexts(
    client: Identity, server: Identity, *pinned: list[Identity]
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    by_client, by_server = ([box.certificate for box in boxes] for boxes in pinned)
    return (
        tls_context(server_side=False, identity=client, peer_certs=by_client),
        tls_context(server_side=True, identity=server, peer_certs=by_server),
    )


def test_pinned_peers_know_each_other(boxes: list[Identity]) -> None:
    branch, dc, other = boxes
    client, server = handshake(*contexts(branch, dc, [dc], [other, branch]))
    assert client.version() == "TLSv1.3"
    assert client.getpeercert(binary_form=True) == dc.certificate
    assert server.getpeercert(binary_form=True) == branch.certificate


def test_a_stranger_is_refused_by_the_server(boxes: list[Identity]) -> None:
    branch, dc, stranger = boxes
    with pytest.raises(ssl.SSLError):
        handshake(*contexts(stranger, dc, [dc], [branch]))


def test_a_stranger_is_refused_by_the_client(boxes: list[Identity]) -> None:
    branch, dc, stranger = boxes
    with pytest.raises(ssl.SSLError):
        handshake(*contexts(branch, stranger, [dc], [branch]))


def test_a_pinned_peer_cannot_vouch_for_another(tmp_path: Path, boxes: list[Identity]) -> None:
    branch, dc, _ = boxes
    pinned = x509.load_der_x509_certificate(branch.certificate)
    pinned_key = serialization.load_pem_private_key(branch.path.read_bytes(), None)
    assert isinstance(pinned_key, ec.EllipticCurvePrivateKey)
    child_key = ec.generate_private_key(ec.SECP256R1())
    child = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "child")]))
        .issuer_name(pinned.subject)
        .public_key(child_key.public_key())
        .serial_number(1)
        .not_valid_before(pinned.not_valid_before_utc)
        .not_valid_after(pinned.not_valid_after_utc)
        .sign(pinned_key, hashes.SHA256())
    )
    path = tmp_path / "child.key"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        child_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + child.public_bytes(pem)
    )
    forged = Identity(path, child.public_bytes(serialization.Encoding.DER))
    with pytest.raises(ssl.SSLError):
        handshake(*contexts(forged, dc, [dc], [branch]))


def test_nobody_pinned_lets_nobody_in(boxes: list[Identity]) -> None:
    branch, dc, _ = boxes
    with pytest.raises(ssl.SSLError):
        handshake(*contexts(branch, dc, [dc], []))


def test_older_tls_is_refused(boxes: list[Identity]) -> None:
    branch, dc, _ = boxes
    client, server = contexts(branch, dc, [dc], [branch])
    client.minimum_version = ssl.TLSVersion.TLSv1_2
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(client, server)
