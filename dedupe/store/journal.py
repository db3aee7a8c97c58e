"""The file in which a log's ledger survives."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dedupe.store.files import File, Files
from dedupe.store.ledger import (
    HEADER_BYTES,
    RECORD_BYTES,
    Header,
    Ledger,
    Record,
    parse_header,
    parse_records,
)

SPARE = 2048  # records that a journal may have beyond twice what it needs


class Journal:
    """Appends records so that they survive when append returns. Used by one thread at a time.

    Made by load or start. After an OSError its file is written anew at the next chance: what the failed call left
    there cannot be known.
    """

    def __init__(
        self, files: Files, path: Path, header: Header, ledger: Ledger, count: int | None = None
    ) -> None:
        """count: records of a file at `path` to which more may be appended."""
        self.header, self.ledger = header, ledger
        self._files, self._path = files, path
        self._file: File | None = None
        self._goes_on = count is not None
        self._count = count or 0

    def append(self, records: Sequence[Record]) -> None:
        """All of them, or none that a later load would see (unless the power fails: then the first few)."""
        for record in records:
            self.ledger.apply(record)
        packed = self._pack(records, self._count)
        try:
            if self._goes_on and self._file is None:
                self._file = self._files.open(self._path)
            if self._file is None or self._count + len(records) > 2 * self.ledger.count() + SPARE:
                self.rewrite()
                return
            self._file.write(HEADER_BYTES + self._count * RECORD_BYTES, packed)
            self._file.sync()
        except OSError:
            self.close()
            raise
        self._count += len(records)

    def rewrite(self) -> None:
        """A new file with nothing in it that is not needed."""
        self.close()
        records = self.ledger.records()
        self._files.replace(self._path, self.header.pack() + self._pack(records, 0))
        self._file = self._files.open(self._path)
        self._count = len(records)

    def successor(self, epoch: int) -> "Journal":
        """An empty one in the same place; it replaces this one with its first records."""
        return start(self._files, self._path, replace(self.header, epoch=epoch))

    def close(self) -> None:
        self._goes_on = False
        if self._file is not None:
            self._file.close()
            self._file = None

    def _pack(self, records: Iterable[Record], first: int) -> bytes:
        epoch = self.header.epoch
        return b"".join(record.pack(epoch, first + place) for place, record in enumerate(records))


def start(files: Files, path: Path, header: Header) -> Journal:
    """An empty one; nothing is on the disk before the first append."""
    return Journal(files, path, header, Ledger(header.bits, header.slots))


def read_header(path: Path) -> Header:
    """FileNotFoundError, or ValueError as of load. Another, larger file in the journal's place is not read whole."""
    with path.open("rb") as file:
        return parse_header(file.read(HEADER_BYTES))


def load(files: Files, path: Path, expected: Header) -> Journal:
    """The journal found at `path`; epoch 0 in `expected` stands for any.

    FileNotFoundError if there is none, ValueError (what is wrong, a sentence about "it") if it is not the expected one.
    """
    header = read_header(path)
    if (header.cache, header.role) != (expected.cache, expected.role):
        raise ValueError("it belongs to another cache")
    if (header.bits, header.slots) != (expected.bits, expected.slots):
        raise ValueError("it is for another size of the cache")
    data = path.read_bytes()
    ledger, count = Ledger(header.bits, header.slots), 0
    for record in parse_records(data, header):
        ledger.apply(record)
        count += 1
    # What follows the last record would follow the next one, and might be taken for records that were relied on.
    whole = len(data) == HEADER_BYTES + count * RECORD_BYTES
    return Journal(files, path, header, ledger, count if whole else None)
