"""What a capture writes: the words for frames, the records on their way, and a file that scapy reads."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.utils import RawPcapNgReader

from appliance.capture import pcapng
from appliance.capture.frame_text import sentence, stream_of
from appliance.capture.record import MOST_BYTES, FrameRecord
from appliance.lanes import frames
from appliance.lanes.frames import FIN, Kind, Open

LOCAL, REMOTE = ("10.9.1.1", 50_000), ("10.9.2.1", 4001)


def test_frames_in_words() -> None:
    opening = Open(6, ("10.1.0.2", 40_000), ("10.2.0.2", 445), 0, True)
    said = [
        (frames.open_stream(opening), 6, "OPEN stream 6 from 10.1.0.2 port 40000 to 10.2.0.2 port 445"),
        (frames.data(6, 100, FIN, b"\x02" + bytes(9)), 6, "DATA stream 6 offset 100 FIN, 10 bytes of zstd"),
        (frames.block(6, 0, 0, bytes(30)), 6, "BLOCK stream 6 offset 0, 30 bytes of block"),
        (frames.credit(6, 1 << 20), 6, "CREDIT stream 6 up to offset 1048576"),
        (frames.reset(6), 6, "RESET stream 6"),
        (frames.failed(6, 111), 6, "FAILED stream 6: ECONNREFUSED, Connection refused"),
        (frames.failed(6, 2**40), 6, f"FAILED stream 6: error {2**40}"),
        (frames.ack(9), None, "ACK 1 bytes"),
    ]
    for frame, stream, words in said:
        kind, body = frames.parse(frame)
        assert (stream_of(kind, body), sentence(kind, body)) == (stream, words)


@given(st.integers(0, 255), st.binary(max_size=60))
def test_nonsense_is_described_too(kind: int, body: bytes) -> None:
    assert sentence(kind, body)
    assert stream_of(kind, body) is None or kind >= Kind.OPEN


@pytest.mark.parametrize("body", [b"", b"abc", bytes(MOST_BYTES + 5)])
def test_a_record_survives_its_way(body: bytes) -> None:
    record = FrameRecord(1.5, True, Kind.DATA, 3, len(body), LOCAL, ("fd00::1", 4001), body)
    assert FrameRecord.decode(record.encode()) == record._replace(body=body[:MOST_BYTES])


@given(st.binary(max_size=80))
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no frame"):
        FrameRecord.decode(data)


def test_scapy_reads_both_interfaces() -> None:
    packet = bytes(IP(src="10.1.0.2", dst="10.2.0.2") / TCP(sport=40_000, dport=445) / b"hello")
    frame = frames.reset(6)
    pdu = pcapng.exported(LOCAL, REMOTE, "RESET stream 6", frame)
    file = b"".join(
        (
            pcapng.head("a test"),
            pcapng.interface("lan0", pcapng.RAW_IP, 1 << 18),
            pcapng.interface("lanes", pcapng.EXPORTED_PDU, 1 << 18),
            pcapng.packet(0, 1_700_000_000.25, packet[:30], len(packet), "in"),
            pcapng.packet(1, 1_700_000_001.5, pdu, len(pdu), "out", "RESET stream 6"),
        )
    )
    records = list(RawPcapNgReader(io.BytesIO(file)))
    (first, about_first), (second, about_second) = ((record[0], record[1]) for record in records)
    assert (first, about_first.linktype, about_first.wirelen) == (packet[:30], pcapng.RAW_IP, len(packet))
    assert (second, about_second.linktype) == (pdu, pcapng.EXPORTED_PDU)
    assert (about_first.direction, about_second.direction) == (1, 2)
    assert about_second.comments == [b"RESET stream 6"]
    stamp = (about_first.tshigh << 32 | about_first.tslow) / about_first.tsresol
    assert stamp == pytest.approx(1_700_000_000.25)


@pytest.mark.parametrize(
    "ends", [(LOCAL, REMOTE), (("fd00::1", 50_000), ("fd00::2", 4001)), (("fe80::1%3", 1), ("fe80::2", 2))]
)
def test_a_lane_frame_says_what_it_is_by_tags(ends: tuple[tuple[str, int], tuple[str, int]]) -> None:
    frame = frames.credit(4, 5)
    data = pcapng.exported(*ends, "CREDIT stream 4 up to offset 5", frame)
    tags, at = {}, 0
    while True:
        tag, length = struct.unpack_from("!HH", data, at)
        at += 4
        if not tag:
            break
        tags[tag] = data[at : at + length]
        at += length
        assert at % 4 == 0
    assert data[at:] == frame
    assert tags[33].rstrip(b"\0") == b"Branchline"
    assert tags[36].rstrip(b"\0") == b"CREDIT stream 4 up to offset 5"
    assert [int.from_bytes(tags[port], "big") for port in (25, 26)] == [ends[0][1], ends[1][1]]
    assert len(tags[20] if 20 in tags else tags[22]) in {4, 16}
