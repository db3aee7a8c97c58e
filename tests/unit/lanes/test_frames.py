"""Frames: what is written is read back, however it is cut, and nonsense is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.lanes import frames
from appliance.lanes.frames import FrameReader, Hello, Kind, Open, ProtocolError
from appliance.lanes.varint import LIMIT, read_varint, varint

numbers = st.integers(0, LIMIT - 1)
ports = st.integers(0, 65535)


def read_all(data: bytes, cuts: list[int], limit: int = frames.MAX_FRAME) -> list[tuple[int, bytes]]:
    reader = FrameReader()
    reader.limit = limit
    found = []
    at = 0
    for size in [*cuts, len(data)]:
        while at < len(data) and size > 0:
            space = reader.space()
            piece = data[at : at + min(size, len(space))]
            space[: len(piece)] = piece
            at += len(piece)
            size -= len(piece)
            found += list(reader.received(len(piece)))
    return found


@given(numbers)
def test_a_number_survives_and_takes_no_more_than_it_needs(number: int) -> None:
    wire = varint(number)
    assert read_varint(wire + b"x", 0) == (number, len(wire))
    assert len(wire) == 1 << sum(number >= bound for bound in (1 << 6, 1 << 14, 1 << 30))


@pytest.mark.parametrize("number", [-1, LIMIT])
def test_a_number_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(ValueError):
        varint(number)


@given(
    st.lists(st.binary(max_size=3000), max_size=8),
    st.lists(st.integers(1, 4000), max_size=8),
)
def test_frames_are_found_however_the_bytes_are_cut(bodies: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(frames.frame(Kind.DATA, body) for body in bodies)
    assert read_all(wire, cuts) == [(Kind.DATA, body) for body in bodies]


@given(numbers, st.binary(max_size=3000))
def test_a_copy_carries_a_session_frame_with_its_number(number: int, body: bytes) -> None:
    kind, copied = frames.parse(frames.copy(number, frames.frame(Kind.DATA, body)))
    assert kind == Kind.COPY
    assert frames.read_copy(copied) == (number, Kind.DATA, body)


def test_only_session_frames_are_copied() -> None:
    with pytest.raises(ProtocolError, match="kind 2"):
        frames.read_copy(frames.parse(frames.copy(1, frames.ping(1)))[1])


def test_the_largest_frame_fits_and_one_byte_more_is_refused() -> None:
    body = bytes(frames.MAX_FRAME - 1)
    assert read_all(frames.frame(Kind.BLOCK, body) * 3, [1, 70_000]) == [(Kind.BLOCK, body)] * 3
    with pytest.raises(ProtocolError, match="allowed are"):
        read_all(frames.frame(Kind.BLOCK, body + b"x"), [])


def test_before_the_hello_only_small_frames_are_taken() -> None:
    with pytest.raises(ProtocolError, match="allowed are"):
        read_all(frames.frame(Kind.HELLO, bytes(frames.MAX_HELLO)), [], frames.MAX_HELLO)


@pytest.mark.parametrize("wire", [b"\x00", b"\xff" * 8, b"\x01\x63", b"\x02\x0f\x00"])
def test_nonsense_is_refused(wire: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_all(wire, [])


@given(st.binary(max_size=300))
def test_no_input_raises_anything_but_a_protocol_error(data: bytes) -> None:
    readers = (
        frames.read_open,
        frames.read_data,
        frames.read_hello,
        frames.read_copy,
        lambda body: frames.read_numbers(body, 2),
        lambda body: read_all(body, []),
    )
    for reader in readers:
        try:
            reader(data)
        except ProtocolError:
            continue


@given(
    numbers,
    st.one_of(
        st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
        st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
    ),
    ports,
    ports,
    st.integers(0, 255),
    st.booleans(),
    st.integers(0, 63),
)
def test_open_survives(
    stream: int, hosts: tuple[object, object], client: int, server: int, domain: int, store: bool, dscp: int
) -> None:
    message = Open(stream, (str(hosts[0]), client), (str(hosts[1]), server), domain, store, dscp, (3, 9))
    [(kind, body)] = read_all(frames.open_stream(message), [])
    assert kind == Kind.OPEN
    assert frames.read_open(body) == message


def test_hello_survives_and_unknown_keys_are_ignored() -> None:
    hello = Hello(1, 1, "dc", 7, [3, 1], 1, offers={"0": b"\x00\xff"}, prefixes=["10.2.0.0/16"])
    [(kind, body)] = read_all(frames.hello(hello), [])
    assert kind == Kind.HELLO
    assert frames.read_hello(body) == hello
    assert frames.read_hello(body[:-1] + b',"later":[1]}') == hello


@given(numbers, st.integers(0, 1 << 40), st.integers(0, 255), st.binary(max_size=50))
def test_data_survives(stream: int, offset: int, flags: int, payload: bytes) -> None:
    [(_, body)] = read_all(frames.block(stream, offset, flags, payload), [])
    *head, rest = frames.read_data(body)
    assert (head, bytes(rest)) == ([stream, offset, flags], payload)
