"""What the clients move: documents of which some are new, some are the next version of another, and most are known."""

import filecmp
import random
from pathlib import Path

from appliance.lab.soak.turn_error import TurnError
from appliance.lab.telling import LETTERS, STOCK, stock

SMALLEST, LARGEST = 2_000, 1_500_000
KEPT = 8  # documents on a shelf; the oldest goes when a new one comes
NEW_EVERY = 3  # turns
EDITS = 12
_TEXT = stock(STOCK)


def document(number: int) -> bytes:
    """The same for the same number, whoever asks: text, random bytes, or the next version of the document before."""
    chance = random.Random(number)
    if number % 3 == 2:
        return _edited(document(number - 1), chance)
    size = int(SMALLEST * (LARGEST / SMALLEST) ** chance.random())  # as many small ones as large ones
    if number % 3:
        return chance.randbytes(size)
    letters = list(LETTERS)
    chance.shuffle(letters)
    at = chance.randrange(STOCK - size)
    return _TEXT[at : at + size].translate(bytes.maketrans(LETTERS, bytes(letters)))


def _edited(original: bytes, chance: random.Random) -> bytes:
    edited = bytearray(original)
    for _ in range(EDITS):
        at = chance.randrange(len(edited))
        edited[at : at + chance.randrange(100)] = chance.randbytes(chance.randrange(100))
    return bytes(edited or b"nothing is left")


class Shelf:
    """A directory of documents. What one shelf gets, others have had or will have: they count from where they like."""

    def __init__(self, directory: Path, first: int) -> None:
        directory.mkdir()
        self.directory = directory
        self._next = first
        self._turns = 0
        self._names: list[str] = []
        for _ in range(KEPT):
            self.renew()

    def renew(self) -> str:
        """Puts a new document there and takes the oldest away."""
        name = f"document-{self._next}"
        (self.directory / name).write_bytes(document(self._next))
        self._next += 1
        self._names.append(name)
        if len(self._names) > KEPT:
            (self.directory / self._names.pop(0)).unlink()
        return name

    def turn(self) -> list[Path]:
        """The documents of one turn: every few turns a new one, and some of those that are there."""
        if self._turns % NEW_EVERY == 0:
            self.renew()
        self._turns += 1
        chance = random.Random(self._turns)
        return [self.directory / name for name in {self._names[-1], *chance.sample(self._names, 2)}]


def compare(sent: list[Path], got: list[Path]) -> int:
    """Bytes of files that are the same, one by one; TurnError names the first that is not, or that is missing."""
    for one, other in zip(sent, got, strict=True):
        if not other.exists():
            raise TurnError(f"{one.name} has not arrived")
        if not filecmp.cmp(one, other, shallow=False):
            raise TurnError(f"what arrived of {one.name} is not what was sent", wrong=True)
    return sum(path.stat().st_size for path in sent)
