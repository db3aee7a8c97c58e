"""The first bytes of real protocols, made by scapy or by hand from their specifications."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.nfs import ACCESS_Call
from scapy.contrib.oncrpc import RPC, RM_Header, RPC_Call
from scapy.layers.dcerpc import CommonAuthVerifier, DceRpc5, DceRpc5Bind
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.ldap import LDAP, LDAP_BindRequest
from scapy.layers.netbios import NBTSession
from scapy.layers.smb2 import (
    SMB2_Header,
    SMB2_Negotiate_Protocol_Request,
    SMB2_Negotiate_Protocol_Response,
    SMB2_Read_Request,
    SMB2_Session_Setup_Response,
    SMB2_Transform_Header,
    SMB2_Tree_Connect_Response,
)
from scapy.layers.tls.all import TLS, TLSClientHello, TLSServerHello

from appliance.applications import OPENING, Application, Opening, by_port, classify


def smb(message: object, **header: object) -> bytes:
    return bytes(NBTSession() / SMB2_Header(**header) / message)


HELLO = bytes(TLS(msg=[TLSClientHello()]))
SMB_ASKS = smb(SMB2_Negotiate_Protocol_Request(Dialects=[0x0311]))
SMB_ANSWERS = smb(SMB2_Negotiate_Protocol_Response(SecurityMode=1), Flags=1)
SMB_ENCRYPTED = bytes(NBTSession() / SMB2_Transform_Header(OriginalMessageSize=4)) + bytes(40)
TDS_ASKS = bytes.fromhex("1201001a00000000") + bytes.fromhex("00000b0006010011000001ff") + bytes(6)


def tds_answer(encryption: int) -> bytes:
    """Options VERSION and ENCRYPTION, each with offset and length, then their values."""
    body = bytes.fromhex("00000b00060100110001ff") + bytes(6) + bytes([encryption])
    return bytes([4, 1]) + struct.pack("!H", 8 + len(body)) + bytes(4) + body


def gss_call(service: int) -> bytes:
    credential = struct.pack("!IIIIII", 6, 24, 1, 0, 7, service)
    body = struct.pack("!6I", 7, 0, 2, 100_003, 4, 1) + credential
    return struct.pack("!I", 1 << 31 | len(body)) + body


def dcerpc(level: int) -> bytes:
    return bytes(
        DceRpc5(auth_verifier=CommonAuthVerifier(auth_type=10, auth_level=level, auth_value=b"NTLMSSP\0"))
        / DceRpc5Bind()
    )


NFS_CALL = bytes(
    RM_Header() / RPC(xid=9, mtype=0) / RPC_Call(program=100_003, pversion=3, procedure=4) / ACCESS_Call()
)
MYSQL = b"\x4a\0\0\0\x0a8.0.36\0" + bytes(60)
RDP_ASKS = b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0"
RDP_ANSWERS = b"\x03\0\0\x13\x0e\xd0\0\0\x124\0\x02\x1f\x08\0\x02\0\0\0"
DNS_QUESTION = bytes(DNS(rd=1, qd=DNSQR(qname="branch.example")))

# name, protection, first bytes of the client, of the server
CONVERSATIONS = [
    ("tls", "encrypted", HELLO, b""),
    ("tls", "encrypted", HELLO, bytes(TLS(msg=[TLSServerHello()]))),
    ("tls", "encrypted", b"", b"\x17\x03\x03\x40\x00" + bytes(200)),  # in the middle of a flow
    ("ssh", "encrypted", b"SSH-2.0-OpenSSH_9.2\r\n", b""),
    ("ssh", "encrypted", b"", b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("http", "", b"GET /pub/file.zip HTTP/1.1\r\nHost: mirror\r\n\r\n", b""),
    ("http", "", b"PROPFIND /dav HTTP/1.1\r\n", b"HTTP/1.1 207 Multi-Status\r\n"),
    ("http", "", b"", b"HTTP/1.0 200 OK\r\n"),
    ("http", "", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""),
    ("http-proxy", "encrypted", b"CONNECT mail.example:443 HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
    ("ipp", "", b"POST /printers/2nd HTTP/1.1\r\nContent-Type: application/ipp\r\n", b""),
    ("smb", "", SMB_ASKS, SMB_ANSWERS),
    ("smb", "", b"\0\0\0\x85\xffSMBr" + bytes(128), b""),
    ("smb", "signed", SMB_ASKS, smb(SMB2_Negotiate_Protocol_Response(SecurityMode=3), Flags=1)),
    ("smb", "signed", smb(SMB2_Read_Request(), Flags=8, Command=8), b""),
    (
        "smb",
        "encrypted",
        SMB_ASKS,
        SMB_ANSWERS + smb(SMB2_Session_Setup_Response(SessionFlags=4), Flags=1, Command=1),
    ),
    (
        "smb",
        "encrypted",
        SMB_ASKS,
        SMB_ANSWERS + smb(SMB2_Tree_Connect_Response(ShareType=1, ShareFlags=0x8000), Flags=1, Command=3),
    ),
    ("smb", "encrypted", SMB_ASKS + SMB_ENCRYPTED, SMB_ANSWERS),
    ("smb", "encrypted", b"", SMB_ENCRYPTED),
    ("nfs", "", NFS_CALL, b""),
    ("nfs", "", gss_call(1), b""),
    ("nfs", "signed", gss_call(2), b""),
    ("nfs", "encrypted", gss_call(3), b""),
    ("ldap", "", bytes(LDAP(messageID=1, protocolOp=LDAP_BindRequest())), b""),
    (
        "ldap",
        "encrypted",
        b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037",
        b"",
    ),
    ("kerberos", "", b"\0\0\x01\x0a\x6a\x82\x01\x06\x30\x82\x01\x02", b""),
    ("dcerpc", "signed", dcerpc(5), b""),
    ("dcerpc", "encrypted", dcerpc(6), b""),
    ("rdp", "encrypted", RDP_ASKS, RDP_ANSWERS),
    ("rdp", "encrypted", b"\x03\0\0\x2b\x26\xe0\0\0\0\0\0Cookie: mstshash=eva\r\n", b""),
    ("iso-tsap", "", b"\x03\0\0\x16\x11\xe0\0\0\0\x01\0\xc0\x01\x0a\xc1\x02\x01\0\xc2\x02\x01\x02", b""),
    ("postgresql", "", struct.pack("!IHH", 41, 3, 0) + b"user\0eva\0database\0stock\0\0", b"R\0\0\0\x08"),
    ("postgresql", "encrypted", struct.pack("!IHH", 8, 1234, 5679), b"S"),
    ("postgresql", "", struct.pack("!IHH", 8, 1234, 5679) + struct.pack("!IHH", 9, 3, 0) + b"\0", b"N"),
    ("mysql", "", b"\x54\0\0\x01\x85\xa2\x3a\0" + bytes(60), MYSQL),
    ("mysql", "encrypted", b"\x20\0\0\x01\x85\xae\x3a\0" + bytes(28), MYSQL),
    ("mysql", "", b"", MYSQL),
    ("mssql", "", TDS_ASKS, tds_answer(0)),
    ("mssql", "encrypted", TDS_ASKS, tds_answer(1)),
    ("mssql", "encrypted", TDS_ASKS, tds_answer(3)),
    (
        "oracle",
        "",
        b"\0\xf0\0\0\x01\0\0\0" + bytes(50) + b"(DESCRIPTION=(CONNECT_DATA=(SERVICE_NAME=x)))",
        b"",
    ),
    ("mongodb", "", struct.pack("<iiii", 60, 1, 0, 2013) + bytes(44), b""),
    ("redis", "", b"*1\r\n$4\r\nPING\r\n", b""),
    ("smtp", "", b"EHLO branch\r\nMAIL FROM:<a@b>\r\n", b"220 mail ready\r\n250 ok\r\n"),
    ("smtp", "", b"", b"220 mail.example ESMTP\r\n"),
    ("smtp", "encrypted", b"EHLO branch\r\nSTARTTLS\r\n", b"220 mail ready\r\n250 STARTTLS\r\n220 go\r\n"),
    ("imap", "", b"a LOGIN x y\r\n", b"* OK ready\r\n"),
    ("imap", "encrypted", b"a starttls\r\n", b"* OK ready\r\na OK\r\n"),
    ("pop3", "encrypted", b"STLS\r\n", b"+OK ready\r\n+OK\r\n"),
    ("ftp", "", b"USER eva\r\n", b"220 welcome\r\n"),
    ("ftp", "encrypted", b"AUTH TLS\r\n", b"220 welcome\r\n234 go\r\n"),
    ("nntp", "", b"MODE READER\r\n", b"200 news\r\n"),
    ("git", "", b"0032git-upload-pack /p.git\0host=h\0", b""),
    ("rsync", "", b"@RSYNCD: 31.0\n", b""),
    ("rsync", "", b"", b"@RSYNCD: 31.0 sha512\n"),
    ("iscsi", "", b"\x43\x87" + bytes(46) + b"InitiatorName=iqn.1993-08.org\0", b""),
    ("vnc", "", b"", b"RFB 003.008\n"),
    ("telnet", "", b"", b"\xff\xfd\x18\xff\xfd\x20"),
    ("x11", "", b"l\0\x0b\0\0\0\0\0\0\0\0\0", b""),
    ("dns", "", struct.pack("!H", len(DNS_QUESTION)) + DNS_QUESTION, b""),
    ("mqtt", "", b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04edge", b""),
    ("amqp", "", b"AMQP\0\0\x09\x01", b""),
    ("sip", "", b"REGISTER sip:example SIP/2.0\r\n", b""),
    ("rtsp", "", b"OPTIONS rtsp://camera RTSP/1.0\r\n", b""),
    ("print", "", b"\x1b%-12345X@PJL JOB\r\n", b""),
    ("ica", "", b"", b"\x7f\x7fICA\0"),
    ("bittorrent", "", b"\x13BitTorrent protocol" + bytes(48), b""),
]


@pytest.mark.parametrize(
    ("name", "protection", "client", "server"),
    CONVERSATIONS,
    ids=[f"{at}-{row[0]}-{row[1]}" for at, row in enumerate(CONVERSATIONS)],
)
def test_a_protocol_is_told_by_its_first_bytes(
    name: str, protection: str, client: bytes, server: bytes
) -> None:
    assert classify(client, server, 4711) == (name, protection, True)


@pytest.mark.parametrize(("port", "name"), [(443, "https"), (636, "ldaps"), (993, "imaps"), (9999, "tls")])
def test_the_port_says_what_is_inside_tls(port: int, name: str) -> None:
    assert classify(HELLO, b"", port) == (name, "encrypted", True)


def test_bytes_tell_more_than_the_port() -> None:
    assert classify(b"SSH-2.0-x\r\n", b"", 443).name == "ssh"


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (445, Application("smb", "", certain=False)),
        (443, Application("https", "encrypted", certain=False)),
        (22, Application("ssh", "encrypted", certain=False)),
        (40_000, Application("unknown", "", certain=False)),
    ],
)
def test_a_silent_flow_is_guessed_by_its_port(port: int, expected: Application) -> None:
    assert classify(b"", b"", port) == by_port(port) == expected


@given(st.binary(max_size=OPENING), st.binary(max_size=OPENING), st.integers(0, 65535))
def test_anything_at_all_is_some_application(client: bytes, server: bytes, port: int) -> None:
    assert classify(client, server, port).name


@given(
    st.sampled_from([(client, server) for _, _, client, server in CONVERSATIONS]),
    st.integers(0, 300),
    st.integers(0, 300),
)
def test_half_a_message_is_some_application(ends: tuple[bytes, bytes], client: int, server: int) -> None:
    assert classify(ends[0][:client], ends[1][:server], 0).name


@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=400))))
def test_an_opening_keeps_the_beginning_of_each_direction(pieces: list[tuple[bool, bytes]]) -> None:
    opening = Opening()
    said = {True: b"", False: b""}
    for from_client, data in pieces:
        said[from_client] += data
        assert opening.add(from_client, memoryview(data)) is (len(said[from_client]) >= OPENING)
    assert opening.application(80) == classify(said[True][:OPENING], said[False][:OPENING], 80)
