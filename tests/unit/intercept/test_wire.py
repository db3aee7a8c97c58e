"""What comes from the kernel is parsed, and whatever else comes is not."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from appliance.intercept import elements, marks, netlink, passed
from appliance.intercept.stale import Tuple, tuple_of

addresses4 = st.ip_addresses(v=4).map(str)
addresses6 = st.ip_addresses(v=6).map(str)
port_numbers = st.integers(0, 65535)
ends4 = st.tuples(st.tuples(addresses4, port_numbers), st.tuples(addresses4, port_numbers)).map(
    lambda t: Tuple(*t)
)
ends6 = st.tuples(st.tuples(addresses6, port_numbers), st.tuples(addresses6, port_numbers)).map(
    lambda t: Tuple(*t)
)


def packet(ends: Tuple, options: int = 0) -> bytes:
    """A SYN with `options` times 4 bytes of IPv4 options, or 8 of IPv6 destination options."""
    source, target = (ip_address(end[0]) for end in ends)
    tcp = struct.pack("!HH16x", ends.client[1], ends.server[1])
    if source.version == 4:
        return (
            struct.pack("!B8xB2x", 0x45 + options, 6)
            + source.packed
            + target.packed
            + bytes(4 * options)
            + tcp
        )
    extensions = b"".join(bytes([60 if left > 1 else 6, 0]) + bytes(6) for left in range(options, 0, -1))
    first = 60 if options else 6
    return struct.pack("!B5xBx", 0x60, first) + source.packed + target.packed + extensions + tcp


@given(ends4 | ends6, st.integers(0, 5))
def test_the_ends_of_a_packet(ends: Tuple, options: int) -> None:
    assert tuple_of(packet(ends, options)) == ends


@given(ends4 | ends6, st.integers(0, 3), st.integers(0, 100))
def test_a_packet_cut_short(ends: Tuple, options: int, length: int) -> None:
    assert tuple_of(packet(ends, options)[:length]) in (ends, None)


@given(st.binary(max_size=200))
def test_a_packet_of_garbage(data: bytes) -> None:
    parsed = tuple_of(data)
    assert parsed is None or len(parsed) == 2


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=20), st.booleans()), max_size=6))
def test_attributes_come_back(items: list[tuple[int, bytes, bool]]) -> None:
    wire = b"".join(netlink.attribute(kind, payload, nested=nested) for kind, payload, nested in items)
    assert list(netlink.each_attribute(wire)) == [(kind, payload) for kind, payload, _ in items]


@given(st.lists(st.tuples(st.integers(16, 0xFFFF), st.binary(max_size=40)), max_size=5), st.integers(1, 60))
def test_messages_come_back_and_a_torn_one_ends_the_datagram(
    items: list[tuple[int, bytes]], torn: int
) -> None:
    wire = b"".join(netlink.message(kind, 0, body) for kind, body in items)
    assert [(item.kind, item.body) for item in netlink.messages(wire)] == items
    assert len(list(netlink.messages(wire[:-torn]))) <= len(items)


@given(st.binary(max_size=300))
def test_garbage_from_netlink(data: bytes) -> None:
    for item in netlink.messages(data):
        assert len(item.body) <= len(data)
    passed.parse(data)


@given(addresses4 | addresses6, port_numbers)
def test_destination_keys(address: str, port: int) -> None:
    assert elements.destination_of(elements.destination(address, port)) == (address, port)


def test_many_elements_take_several_messages() -> None:
    keys = [elements.Element(elements.destination("10.0.0.1", port), 1.5) for port in range(5000)]
    parts = elements.add("branchline", "known4", keys)
    assert len(parts) == 5
    for part in parts:
        (item,) = netlink.messages(part)  # none is longer than its own header can say
        assert item.flags & netlink.REQUEST


def conntrack_entry(mark: int, state: int = 3) -> bytes:
    def ends(source: str, target: str, source_port: int, target_port: int) -> bytes:
        addresses = netlink.attribute(1, socket.inet_aton(source)) + netlink.attribute(
            2, socket.inet_aton(target)
        )
        protocol = netlink.attribute(1, b"\6")
        numbers = netlink.attribute(2, struct.pack("!H", source_port)) + netlink.attribute(
            3, struct.pack("!H", target_port)
        )
        return netlink.attribute(1, addresses, nested=True) + netlink.attribute(
            2, protocol + numbers, nested=True
        )

    def counted(count: int) -> bytes:
        return netlink.attribute(1, struct.pack("!Q", 1)) + netlink.attribute(2, struct.pack("!Q", count))

    tcp = netlink.attribute(1, netlink.attribute(1, bytes([state])), nested=True)
    return b"".join(
        (
            netlink.attribute(1, ends("10.1.0.2", "10.2.0.2", 900, 80), nested=True),
            netlink.attribute(4, tcp, nested=True),
            netlink.attribute(7, struct.pack("!I", 300)),
            netlink.attribute(8, struct.pack("!I", mark)),
            netlink.attribute(9, counted(1000), nested=True),
            netlink.attribute(10, counted(2000), nested=True),
            netlink.attribute(
                20, netlink.attribute(1, struct.pack("!Q", 1_700_000_000_500_000_000)), nested=True
            ),
        )
    )


def test_a_passed_flow() -> None:
    flow = passed.parse(conntrack_entry(0x5A000000 | marks.passed(7)))
    assert flow is not None
    assert (flow.client, flow.server) == (("10.1.0.2", 900), ("10.2.0.2", 80))
    assert (flow.reason.name, flow.state, flow.expires) == ("peer_down", "established", 300.0)
    assert (flow.bytes_up, flow.bytes_down, flow.began) == (1000, 2000, 1_700_000_000.5)


def test_flows_of_another_fate_are_not_passed() -> None:
    for fate in (0, marks.INTERCEPTED, marks.FAR_SIDE, marks.FOREIGN):
        assert passed.parse(conntrack_entry(fate)) is None


def test_a_reason_of_a_later_release() -> None:
    flow = passed.parse(conntrack_entry(marks.passed(200)))
    assert flow is not None
    assert flow.reason.name == "reason_200"
