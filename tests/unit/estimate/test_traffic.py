"""What is made of packets that are overheard: whose they are, what they carry, what it would come to."""

from __future__ import annotations

import random
from ipaddress import ip_network

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from appliance.estimate.report import OTHER, Cost, Report, report
from appliance.estimate.savings import LEAST_CACHE, Savings
from appliance.estimate.traffic import Traffic

NOISE = random.Random(4).randbytes(300_000)
REQUEST = b"GET /file HTTP/1.1\r\nHost: mirror\r\n\r\n"
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(190)
FREE = Cost(0.0, 0, 0, 1)


class Talk:
    """One TCP connection, as the packets that an onlooker sees."""

    def __init__(
        self, traffic: Traffic, server_port: int = 80, *, client_port: int = 40_000, v6: bool = False
    ) -> None:
        self._traffic = traffic
        self._ends = (
            (("fd01::2", client_port), ("fd02::2", server_port))
            if v6
            else (
                ("10.1.0.2", client_port),
                ("10.2.0.2", server_port),
            )
        )
        self.sequences = [1000, 0xFFFFFF00]  # the server's goes round soon

    def packet(self, side: int, flags: str, data: bytes = b"", *, ahead: int = 0) -> bytes:
        """The packet of side 0 (client) or 1; `ahead` of the sequence that is due."""
        source, target = self._ends[side], self._ends[1 - side]
        head = IPv6(src=source[0], dst=target[0]) if ":" in source[0] else IP(src=source[0], dst=target[0])
        sequence = (self.sequences[side] + ahead) & 0xFFFFFFFF
        return bytes(head / TCP(sport=source[1], dport=target[1], flags=flags, seq=sequence) / data)

    def send(self, side: int, flags: str, data: bytes = b"") -> None:
        self._traffic.packet(memoryview(self.packet(side, flags, data)))
        self.sequences[side] += len(data) + ("S" in flags or "F" in flags)

    def open(self) -> None:
        for side, flags in ((0, "S"), (1, "SA"), (0, "A")):
            self.send(side, flags)

    def say(self, side: int, data: bytes, piece: int = 30_000) -> None:
        for at in range(0, len(data), piece):
            self.send(side, "PA", data[at : at + piece])

    def close(self) -> None:
        for side in (0, 1):
            self.send(side, "FA")


def onlooker(**options: object) -> Traffic:
    return Traffic(Savings(LEAST_CACHE).encoded, **options)  # type: ignore[arg-type]


def told(traffic: Traffic) -> Report:
    return report(60.0, traffic.finish(), traffic.other, FREE)


def line(found: Report, application: str) -> dict[str, object]:
    (line,) = [vars(line) for line in found.lines if line.application == application]
    return line


@pytest.mark.parametrize("v6", [False, True])
def test_a_file_that_crosses_twice(v6: bool) -> None:
    traffic = onlooker()
    for port in (40_000, 40_001):
        talk = Talk(traffic, client_port=port, v6=v6)
        talk.open()
        talk.say(0, REQUEST)
        talk.say(1, NOISE)
        talk.close()
    found = told(traffic)
    http = line(found, "http")
    assert (http["flows"], http["encrypted"], http["guessed"]) == (2, False, 0.0)
    assert http["reduction"] == pytest.approx(0.5, abs=0.02), (
        "noise does not compress, and the second time is free"
    )
    assert http["share"] == 1.0
    assert found.reduction == pytest.approx(0.5, abs=0.02)


def test_what_is_encrypted_is_said_to_gain_nothing() -> None:
    traffic = onlooker()
    for port in (40_000, 40_001):
        talk = Talk(traffic, 443, client_port=port)
        talk.open()
        talk.say(0, TLS_HELLO)
        talk.say(1, NOISE)
        talk.close()
    found = told(traffic)
    https = line(found, "https")
    assert (https["encrypted"], https["reduction"]) == (True, 0.0)
    assert (found.encrypted, found.optimisable, found.reduction) == (1.0, 0.0, 0.0)
    assert "100% was encrypted" in found.sentence()
    assert "Nothing is left" in found.sentence()


def test_retransmissions_count_once_and_gaps_are_passed_over() -> None:
    taken = bytearray()

    def encode(raw: bytearray, _window: object) -> int:
        taken.extend(raw)
        return len(raw)

    traffic = Traffic(encode)
    talk = Talk(traffic)
    talk.open()
    talk.say(1, b"HTTP/1.1 200 OK\r\n\r\n")
    again = talk.packet(1, "PA", b"abcdef")
    talk.say(1, b"abcdef")
    traffic.packet(memoryview(again))
    half_old = talk.packet(1, "PA", b"efghi", ahead=-2)
    traffic.packet(memoryview(half_old))
    later = talk.packet(1, "PA", b"xyz", ahead=1000)
    traffic.packet(memoryview(later))
    traffic.finish()
    assert bytes(taken) == b"HTTP/1.1 200 OK\r\n\r\nabcdefghixyz"


def test_a_flow_that_was_open_before() -> None:
    traffic = onlooker()
    Talk(traffic, 445).say(1, NOISE)
    Talk(traffic, 40_001, client_port=40_000).say(0, b"\x17\x03\x03\x40\x00" + NOISE)
    found = told(traffic)
    smb = line(found, "smb")
    assert smb["guessed"] == 1.0, "nothing but the port says so"
    assert line(found, "tls")["encrypted"] is True


def test_a_reset_ends_a_flow_and_its_ports_may_come_again() -> None:
    traffic = onlooker()
    for _ in range(2):
        talk = Talk(traffic)
        talk.open()
        talk.say(0, REQUEST)
        talk.send(1, "R")
    assert line(told(traffic), "http")["flows"] == 2


def test_the_last_word_of_a_flow_is_no_flow() -> None:
    traffic = onlooker()
    talk = Talk(traffic)
    talk.open()
    talk.say(0, REQUEST)
    talk.close()
    talk.send(0, "A")
    assert line(told(traffic), "http")["flows"] == 1


def test_what_is_no_tcp_is_estimated_from_a_sample() -> None:
    traffic = onlooker()
    traffic.other_weight = 16
    datagram = bytes(IP(src="10.1.0.2", dst="10.2.0.2") / UDP(sport=1, dport=2) / bytes(1000))
    traffic.packet(memoryview(datagram)[:64])
    found = told(traffic)
    assert line(found, OTHER)["bytes"] == 16 * len(datagram)
    assert found.other == 1.0


def test_one_flow_stands_for_all_that_were_not_looked_at() -> None:
    traffic = onlooker()
    traffic.weight = 8
    talk = Talk(traffic)
    talk.open()
    talk.say(0, REQUEST)
    talk.close()
    http = line(told(traffic), "http")
    assert http["flows"] == 8
    assert isinstance(http["bytes"], int)
    assert http["bytes"] % 8 == 0


def test_only_the_other_site_counts_where_one_is_named() -> None:
    traffic = onlooker(sites=(ip_network("10.2.0.0/16"),))
    talk = Talk(traffic)
    talk.open()
    talk.say(0, REQUEST)
    Talk(traffic, v6=True).say(0, REQUEST)
    traffic.packet(memoryview(bytes(IP(src="10.1.0.2", dst="192.0.2.1") / UDP() / bytes(100))))
    found = told(traffic)
    assert [line.application for line in found.lines] == ["http"]
    assert found.lines[0].flows == 1


def test_nothing_at_all() -> None:
    found = told(onlooker())
    assert (found.bytes, found.lines) == (0, ())
    assert "is it the right interface?" in found.sentence()


def test_what_was_too_much_is_owned_up_to() -> None:
    traffic = onlooker()
    talk = Talk(traffic)
    talk.open()
    talk.say(1, NOISE)
    found = report(60.0, traffic.finish(), 0.0, Cost(0.5, 100, 3, 4))
    assert "1 flow in 4 was" in found.sentence()
    assert found.tree()["sentence"] == found.sentence()
