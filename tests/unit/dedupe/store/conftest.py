"""Two boxes that know each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.dedupe.corpus import meet
from tests.unit.dedupe.store.boxes import Box, exchange, opened
from tests.unit.dedupe.store.power import ShadowedFiles


@pytest.fixture
def boxes(tmp_path: Path) -> tuple[Box, Box]:
    """Two that have exchanged PIECES, on the disks of both."""
    made = []
    for name, peer in (("branch", "dc"), ("dc", "branch")):
        files = ShadowedFiles()
        made.append(Box(tmp_path / name, name, peer, opened(tmp_path / name, name, peer, files), files))
    meet(made[0].cache, made[1].cache)
    for box in made:
        assert box.cache.findings()[0].kind == "cache.new"
        box.cache.sync()  # the first session gave the received log its epoch
    assert exchange(*made) == 0
    for box in made:
        while box.cache.sync():
            pass
        assert box.cache.findings() == []
    return made[0], made[1]
