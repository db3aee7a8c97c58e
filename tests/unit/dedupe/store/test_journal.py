"""The file in which a ledger survives."""

from __future__ import annotations

from pathlib import Path

import pytest

from dedupe.store.files import Files
from dedupe.store.journal import Journal, load, start
from dedupe.store.ledger import HEADER_BYTES, RECORD_BYTES, Header, Kind, Record, Role

HEADER = Header(cache=7, epoch=9, role=Role.WRITTEN, bits=12, slots=20)
FIRST, SECOND, THIRD = (Record(Kind.HELD, number << 12, 100, number) for number in range(3))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "written.journal"


def written(path: Path, *records: Record) -> Journal:
    journal = start(Files(), path, HEADER)
    for record in records:
        journal.append([record])
    journal.close()
    return load(Files(), path, HEADER)


def test_a_sound_one_is_appended_to(path: Path) -> None:
    journal = written(path, FIRST, Record(Kind.CLOSED, 5000))
    inode = path.stat().st_ino
    journal.append([SECOND])
    journal.append([THIRD])
    journal.close()
    assert path.stat().st_ino == inode
    again = load(Files(), path, HEADER).ledger
    assert again.held() == [FIRST, SECOND, THIRD]
    assert again.closed is None


def test_what_a_crash_left_half_written_never_counts(path: Path) -> None:
    """The second of two records reached the disk and the first did not: it must not follow the next one."""
    written(path, FIRST, SECOND, THIRD)
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + RECORD_BYTES] ^= 1
    path.write_bytes(data)
    journal = load(Files(), path, HEADER)
    assert journal.ledger.held() == [FIRST]
    journal.append([SECOND])
    journal.close()
    assert load(Files(), path, HEADER).ledger.held() == [FIRST, SECOND]


def test_after_a_failure_it_is_written_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = written(path, FIRST)
    files = journal._files

    def refuse(where: Path) -> None:
        raise OSError("refused")

    with monkeypatch.context() as broken:
        broken.setattr(files, "open", refuse)
        with pytest.raises(OSError, match="refused"):
            journal.append([SECOND])
    journal.append([THIRD])
    journal.close()
    assert load(Files(), path, HEADER).ledger.held() == [FIRST, SECOND, THIRD]
