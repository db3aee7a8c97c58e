"""Records, and what they add up to."""

import re
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dedupe.offer import LARGEST_OFFSET
from dedupe.store.ledger import (
    HEADER_BYTES,
    Header,
    Kind,
    Ledger,
    Record,
    Role,
    parse_header,
    parse_records,
)

HEADER = Header(cache=77, epoch=5, role=Role.RECEIVED, bits=4, slots=4)


def held(offset: int, length: int, digest: int = 0) -> Record:
    return Record(Kind.HELD, offset, length, digest)


def ledger(*records: Record) -> Ledger:
    made = Ledger(4, 4)
    for record in records:
        made.apply(record)
    return made


numbers = st.integers(0, (1 << 64) - 1)
offsets = st.integers(0, LARGEST_OFFSET - (1 << 32))
others = st.builds(
    Record,
    st.sampled_from([Kind.DROPPED, Kind.LEASED, Kind.CLOSED]),
    offsets,
    st.integers(0, (1 << 32) - 1),
    numbers,
)
whole = st.builds(lambda offset, hash_: held(offset, 16 - offset % 16, hash_), offsets, numbers)
records = others | whole


@given(st.lists(records, max_size=5), st.data())
def test_round_trip_up_to_the_first_damage(wanted: list[Record], data: st.DataObject) -> None:
    packed = HEADER.pack() + b"".join(record.pack(5, number) for number, record in enumerate(wanted))
    assert parse_header(packed) == HEADER
    assert list(parse_records(packed, HEADER)) == wanted
    place = data.draw(st.integers(0, len(packed) - 1))
    damaged = packed[:place] + bytes([packed[place] ^ 1]) + packed[place + 1 :]
    if place < HEADER_BYTES:
        with pytest.raises(ValueError, match="damaged"):
            parse_header(damaged)
    else:
        assert list(parse_records(damaged, HEADER)) == wanted[: (place - HEADER_BYTES) // 32]


def test_the_vectors_of_the_format() -> None:
    text = (Path(__file__).parents[4] / "docs" / "FORMAT.md").read_text()
    found = re.search(r"```journal\n(.*?)```", text, re.DOTALL)
    assert found
    data = bytes.fromhex(found.group(1).replace("\n", ""))
    header = parse_header(data)
    assert header == Header(0x77, 0x6272616E63683031, Role.WRITTEN, 16, 34)
    hello = xxhash.xxh3_64_intdigest(b"hello", header.epoch)
    assert list(parse_records(data, header)) == [
        Record(Kind.LEASED, 65536),
        held(0, 5, hello),
        Record(Kind.DROPPED, 2, 3),
        Record(Kind.CLOSED, 70_000),
    ]


@pytest.mark.parametrize(
    "record",
    [held(14, 3), held(5, 0), held(LARGEST_OFFSET, 1), Record(Kind.LEASED, LARGEST_OFFSET + 1)],
    ids=["two segments", "nothing", "beyond", "lease beyond"],
)
def test_a_record_out_of_range_ends_the_journal(record: Record) -> None:
    packed = HEADER.pack() + held(0, 3).pack(5, 0) + record.pack(5, 1) + held(16, 3).pack(5, 2)
    assert list(parse_records(packed, HEADER)) == [held(0, 3)]


def test_a_record_counts_only_in_its_place_and_epoch() -> None:
    packed = HEADER.pack() + held(0, 3).pack(5, 1)
    assert list(parse_records(packed, HEADER)) == []
    packed = HEADER.pack() + held(0, 3).pack(6, 0)
    assert list(parse_records(packed, HEADER)) == []


def test_a_longer_record_replaces_a_shorter_one() -> None:
    assert ledger(held(16, 3), held(16, 9)).held() == [held(16, 9)]
    assert ledger(held(16, 3), held(20, 2)).held() == [held(16, 3), held(20, 2)]


def test_a_slot_has_one_segment() -> None:
    assert ledger(held(0, 16), held(16, 16), held(64, 1)).held() == [held(16, 16), held(64, 1)]
    assert ledger(held(64, 1), held(0, 16)).held() == [held(64, 1)]


def test_drop() -> None:
    assert ledger(held(0, 16), held(16, 4), held(24, 4), Record(Kind.DROPPED, 20, 6)).held() == [
        held(0, 16),
        held(16, 4),
    ]
    assert ledger(held(64, 16), Record(Kind.DROPPED, 0, 16)).held() == [held(64, 16)]
    assert ledger(held(64, 16), Record(Kind.DROPPED, 0, 1 << 31)).held() == []


def test_only_the_last_record_closes() -> None:
    closed = ledger(Record(Kind.LEASED, 100), Record(Kind.CLOSED, 40))
    assert (closed.closed, closed.leased) == (40, 100)
    closed.apply(held(0, 1))
    assert closed.closed is None


@given(st.lists(st.builds(held, st.integers(0, 300), st.integers(1, 16)), max_size=20))
def test_a_rewritten_journal_says_the_same(wanted: list[Record]) -> None:
    made = ledger(*wanted, Record(Kind.LEASED, 500), Record(Kind.CLOSED, 400))
    again = ledger(*made.records())
    assert again.records() == made.records()
    assert len(made.records()) == made.count()
    assert (again.closed, again.leased, again.newest_end()) == (400, 500, made.newest_end())
