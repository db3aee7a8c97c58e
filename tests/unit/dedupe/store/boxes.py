"""Two boxes with a disk each, and traffic between them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dedupe import Cache, Effort, Finding, open_cache
from dedupe.store.files import Files
from tests.unit.dedupe.corpus import NOISE, meet
from tests.unit.dedupe.store.power import ShadowedFiles

CAPACITY = 1 << 20
PIECES = [NOISE[at : at + 20_000] for at in range(0, 120_000, 20_000)]


@dataclass
class Box:
    """One side with its disk."""

    root: Path
    name: str
    peer: str
    cache: Cache
    files: ShadowedFiles

    def reopen(self, name: str = "", ready_s: float = 10.0, index: int = 1 << 16) -> list[Finding]:
        """What it has to say."""
        self.cache = opened(self.root, name or self.name, self.peer, self.files, ready_s=ready_s, index=index)
        return self.cache.findings()

    @property
    def directory(self) -> Path:
        return self.root / self.peer / "channel-0-domain-0"


def opened(
    root: Path,
    box: str,
    peer: str,
    files: Files | None = None,
    capacity: int = CAPACITY,
    ready_s: float = 10.0,
    index: int = 1 << 16,
) -> Cache:
    return open_cache(
        root, box=box, peer=peer, capacity=capacity, gap=CAPACITY, index=index, files=files, ready_s=ready_s
    )


def exchange(sender: Box, receiver: Box) -> int:
    """Sends PIECES and returns how many bytes of them did not have to be sent."""
    copied = 0
    for piece in PIECES:
        if sender.cache.wants_sync:
            sender.cache.sync()
        block = sender.cache.encode(piece, effort=Effort.FAST)
        assert receiver.cache.decode(block.wire, limit=len(piece)) == piece
        sender.cache.acknowledge(block)
        copied += block.copied
    return copied


def restart(boxes: tuple[Box, Box]) -> None:
    """An orderly stop of both, and a new start."""
    for box in boxes:
        box.cache.close()
        box.files.kill()
        box.reopen()
    meet(boxes[0].cache, boxes[1].cache)


def kinds(findings: list[Finding]) -> list[str]:
    return [finding.kind for finding in findings]


ALL = sum(map(len, PIECES))
