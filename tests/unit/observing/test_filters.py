"""Which packets the kernel's filters let through."""

from __future__ import annotations

import ctypes
import random
import socket
import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6

from appliance.observing import filters
from tests.unit.observing import interpreter

CLIENT4, SERVER4 = ("10.1.0.2", 40_000), ("10.2.0.2", 445)
CLIENT6, SERVER6 = ("fd01::2", 40_000), ("fd02::2", 445)
ENDS = [(CLIENT4, SERVER4), (CLIENT6, SERVER6)]


def packet(source: tuple[str, int], target: tuple[str, int], **options: object) -> bytes:
    head = (
        IPv6(src=source[0], dst=target[0])
        if ":" in source[0]
        else IP(src=source[0], dst=target[0], **options)
    )
    return bytes(head / TCP(sport=source[1], dport=target[1]) / b"some bytes")


def kept(program: bytes, data: bytes, random: int = 0) -> int:
    protocol = 0x86DD if data[0] >> 4 == 6 else 0x0800
    return interpreter.run(program, data, protocol=protocol, random=random)


@pytest.mark.parametrize(("client", "server"), ENDS)
def test_one_flow_and_no_other(client: tuple[str, int], server: tuple[str, int]) -> None:
    program = filters.one_flow(client, server)
    assert kept(program, packet(client, server)) == filters.ALL
    assert kept(program, packet(server, client)) == filters.ALL
    for other in ((client[0], 40_001), (client[0][:-1] + "3", client[1])):
        assert not kept(program, packet(other, server))
        assert not kept(program, packet(server, other))
    assert not kept(program, packet(client, (server[0], 446)))
    mixed = packet((client[0], server[1]), (server[0], client[1]))
    assert not kept(program, mixed), "addresses of one direction, ports of the other"


def test_options_do_not_hide_the_ports() -> None:
    program = filters.one_flow(CLIENT4, SERVER4)
    assert kept(program, packet(CLIENT4, SERVER4, options=[IPOption_NOP()] * 8))


def test_fragments_and_other_protocols_are_of_no_flow() -> None:
    program = filters.one_flow(CLIENT4, SERVER4)
    assert not kept(program, packet(CLIENT4, SERVER4, frag=100))
    assert not kept(program, bytes(IP(src=CLIENT4[0], dst=SERVER4[0]) / UDP(sport=40_000, dport=445)))


def test_ends_of_two_families_are_no_flow() -> None:
    with pytest.raises(ValueError, match="family"):
        filters.one_flow(CLIENT4, SERVER6)


@pytest.mark.parametrize("v6", [False, True])
def test_a_sample_is_of_flows_and_of_both_directions(v6: bool) -> None:
    chance = random.Random(1)
    program = filters.sample(3, 4)
    taken = 0
    for _ in range(500):
        host = chance.randrange(1, 250)
        ends = (
            (f"fd01::{host:x}" if v6 else f"10.1.0.{host}", chance.randrange(1024, 65536)),
            (SERVER6 if v6 else SERVER4),
        )
        there, back = kept(program, packet(*ends)), kept(program, packet(ends[1], ends[0]))
        assert there == back
        taken += there == filters.ALL
    assert 35 < taken < 95, "about one in eight"


@pytest.mark.parametrize(("client", "server"), ENDS)
def test_everything_is_a_sample_too(client: tuple[str, int], server: tuple[str, int]) -> None:
    assert kept(filters.sample(0, 4), packet(client, server)) == filters.ALL


@pytest.mark.parametrize(
    "data",
    [
        bytes(IP(src="10.1.0.2", dst="10.2.0.2") / ICMP()),
        bytes(IPv6(src="fd01::2", dst="fd02::2") / UDP()),
        packet(CLIENT4, SERVER4, frag=100),
    ],
)
def test_of_what_is_no_flow_one_packet_in_sixteen_is_counted(data: bytes) -> None:
    program = filters.sample(0, 4)
    lengths = [kept(program, data, random=number) for number in range(64)]
    assert lengths.count(filters.HEADERS) == 4
    assert lengths.count(0) == 60


def test_what_is_not_ip_is_dropped() -> None:
    assert interpreter.run(filters.sample(0, 0), bytes(60), protocol=0x0806) == 0


@pytest.mark.parametrize(
    "program", [filters.sample(0, 4), filters.sample(5, 4), *(filters.one_flow(*ends) for ends in ENDS)]
)
def test_the_kernel_takes_the_program(program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.setblocking(False)
        receiver.setsockopt(
            socket.SOL_SOCKET, 26, struct.pack("HP", len(program) // 8, ctypes.addressof(code))
        )
        sender.send(packet(CLIENT4, SERVER4))
        with pytest.raises(BlockingIOError):  # such a socket carries no IP packets, whatever they look like
            receiver.recv(1)
