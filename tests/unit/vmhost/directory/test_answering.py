"""Whether somebody has an address, from what is heard in a bridge."""

import struct
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from vmhost.directory.answering import advertised, arp_answer, arp_request

OURS, THEIRS = bytes.fromhex("525400000001"), bytes.fromhex("525400000002")
WANTED = IPv4Address("10.1.0.30")


def _frame(sender: IPv4Address) -> bytes:
    body = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, THEIRS, sender.packed, OURS, bytes(4))
    return OURS + THEIRS + b"\x08\x06" + body


def test_who_has_an_address_is_heard() -> None:
    assert arp_answer(_frame(WANTED).ljust(60, b"\0"), WANTED) == THEIRS
    assert arp_answer(_frame(WANTED + 1), WANTED) == b""
    assert arp_answer(arp_request(THEIRS, WANTED), WANTED) == b"", "somebody else asks for it"


def test_a_neighbour_that_advertises_itself() -> None:
    wanted = IPv6Address("fd00:1::30")
    said = struct.pack("!BBHI16s", 136, 0, 0, 0, wanted.packed)
    assert advertised(said + b"\x02\x01" + THEIRS, wanted) == THEIRS
    assert advertised(said, wanted) == bytes(6)
    assert advertised(said, wanted + 1) == b""


@given(st.binary(max_size=80))
def test_anything_may_be_heard(said: bytes) -> None:
    assert arp_answer(said, WANTED) in (b"", said[22:28])
    assert advertised(said, IPv6Address("fd00:1::30")) == b"" or said[:1] == b"\x88"
