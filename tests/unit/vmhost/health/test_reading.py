"""What servers have sent through the tools is read without trust."""

import base64
import struct

from hypothesis import given
from hypothesis import strategies as st

from vmhost.health import clock, dns, kerberos, ldap, ldif, replication, result, service, sysvol

REPS_FROM = struct.pack("<IIIIQQI", 1, 0, 160, 3, 13_440_000_000, 13_440_000_100, 8524) + bytes(124)
DIG = """;; Got answer:
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 31381
;; flags: qr aa rd ad; QUERY: 1, ANSWER: 2, AUTHORITY: 1, ADDITIONAL: 0

;; ANSWER SECTION:
_ldap._tcp.ad.example.	900	IN	SRV	0 100 389 Centre.ad.example.
_ldap._tcp.ad.example.	900	IN	SRV	0 100 389 branch.ad.example.

;; Got answer:
;; ->>HEADER<<- opcode: QUERY, status: NXDOMAIN, id: 62766
"""
LS = """  .                                   D        0  Sun Nov 22 17:58:03 2026
  ..                                  D        0  Sun Nov 22 17:58:03 2026
  {31B2F340-016D-11D2-945F-00C04FB984F9}      D        0  Sun Nov 22 17:58:03 2026
  two words                           A      120  Sun Nov  2 17:58:03 2026

\t\t12342048 blocks of size 1024. 12210076 blocks available
"""


def test_dig() -> None:
    first, second = dns.parse(DIG)
    assert first.data == {"SRV": ["0 100 389 centre.ad.example", "0 100 389 branch.ad.example"]}
    assert (second.status, second.data) == ("NXDOMAIN", {})


def test_records_that_are_wrong() -> None:
    asked = dns.questions("AD.EXAMPLE", "Berlin", "branch.ad.example", "10.1.0.2")
    names = [name for name, _ in asked]
    srv = dns.Answer("NOERROR", {"SRV": ["0 100 389 centre.ad.example"]})
    address = dns.Answer("NOERROR", {"A": ["10.1.0.9", "no address"]})
    wrong = dns.faults(asked, [srv, srv, srv, srv, address], "branch.ad.example", "10.1.0.2")
    assert list(wrong) == names[2:]
    assert wrong[names[2]] == "names centre.ad.example and not branch.ad.example"
    assert wrong[names[4]] == "is 10.1.0.9, no address and not 10.1.0.2"
    assert set(dns.faults(asked, [], "branch.ad.example", "10.1.0.2").values()) == {"no answer"}


def test_ldif() -> None:
    blob = base64.b64encode(b"\0\xff").decode()
    text = f"dn: CN=a\ncn: b: c\n# refldap://x\n\ndn:: {blob}\nbad:: ***\nno colon\n"
    assert ldif.parse(text) == [{"dn": [b"CN=a"], "cn": [b"b: c"]}, {"dn": [b"\0\xff"]}]


def test_the_root_of_a_directory() -> None:
    text = (
        "dn:\ndsServiceName: CN=NTDS Settings,CN=B,CN=Servers,CN=Berlin,CN=Sites,CN=Configuration,DC=ad\n"
        "dnsHostName: B.ad.example\ncurrentTime: 20261122175654.0Z\nisSynchronized: TRUE\n"
    )
    found = ldap.read_root(text, 1795370214.0)
    assert (found.host, found.site, found.synchronized, found.offset) == ("b.ad.example", "Berlin", True, 0.5)
    odd = ldap.read_root("dnsHostName: a b\n/etc/x\ncurrentTime: never\n", 0.0)
    assert (odd.host, odd.site, odd.offset, odd.trouble) == ("", "", None, "")
    assert ldap.read_root("dnsHostName: -f\n", 0.0).host == ""  # an option of dig
    assert ldap.read_root("", 0.0).trouble


def test_what_a_server_says_does_nothing_to_a_terminal() -> None:
    said = result.Result(
        name="ldap", ok=True, latency=1.0, evidence="found: \x1b[2J\x9b1A\r\nCN=ä" + "x" * 9999
    )
    shown = result.printed(said).evidence
    assert shown.startswith("found:  [2J 1A CN=äxx")
    assert len(shown) == 1000


def test_partners() -> None:
    assert replication.partner("DC=ad", REPS_FROM) == replication.Partner("DC=ad", 1_795_526_400.0, 3, 8524)
    assert replication.partner("DC=ad", REPS_FROM[:35]) is None
    assert replication.partner("DC=ad", b"\x03" + REPS_FROM[1:]) is None


def test_the_offset_that_kinit_leaves() -> None:
    head = struct.pack(">HHHHii", 0x0504, 12, 1, 8, -61, -500_000)
    assert kerberos.kdc_offset(head) == -61.5
    assert kerberos.kdc_offset(head[:15]) is None
    assert kerberos.kdc_offset(b"\x05\x04\0\0" + bytes(12)) is None


def test_names_that_smbclient_lists() -> None:
    assert sysvol.listed(LS) == ["{31B2F340-016D-11D2-945F-00C04FB984F9}", "two words"]


def test_a_status_line() -> None:
    assert service.status(b"HTTP/1.1 204 No Content\r\n") == 204
    assert service.status(b"HTTP/1.1 999 \r\n") is None
    assert service.status(b"SSH-2.0-x\r\n") is None


@given(st.binary(max_size=300), st.text(max_size=300))
def test_anything_is_survived(raw: bytes, text: str) -> None:
    dns.parse(text)
    dns.parse(DIG + text)
    for entry in ldif.parse(text):
        for value in entry.get("repsfrom", []):
            replication.partner("", value)
    ldap.read_root(text, 0.0)
    ldap.read_root(f"currentTime: {text}\ndsServiceName: {text}", 0.0)
    replication.partner("", raw)
    kerberos.kdc_offset(raw)
    sysvol.listed(text)
    service.status(raw)
    clock.offset(raw, raw[24:32], 0.0, 0.0)
