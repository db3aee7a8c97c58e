"""What a power cut leaves of a file.

Each write leaves its pages in doubt until the file's next sync: after a cut a page has its synced content or that of
any write since. A replaced file is the old or the new one. This is all that a disk with an honest flush promises.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field

PAGE = 4096


@dataclass
class Shadow:
    """What the disk is sure to have of a file, and what it may have instead, page by page."""

    safe: bytearray = field(default_factory=bytearray)
    doubtful: dict[int, list[bytes]] = field(default_factory=dict)

    def written(self, descriptor: int, at: int, length: int) -> None:
        """Something has just been written to the open file that this is the shadow of."""
        for page in range(at // PAGE, (at + length - 1) // PAGE + 1):
            content = os.pread(descriptor, PAGE, page * PAGE)
            self.doubtful.setdefault(page, []).append(content)

    def settle(self) -> None:
        for page, versions in self.doubtful.items():
            self._put(self.safe, page, versions[-1])
        self.doubtful.clear()

    def after_cut(self, chance: random.Random) -> bytes:
        found = bytearray(self.safe)
        for page, versions in sorted(self.doubtful.items()):
            content = chance.choice([None, versions[-1], *versions])
            if content is not None:
                self._put(found, page, content)
        return bytes(found)

    @staticmethod
    def _put(target: bytearray, page: int, content: bytes) -> None:
        start = page * PAGE
        if len(target) < start:
            target.extend(bytes(start - len(target)))
        target[start : start + len(content)] = content
