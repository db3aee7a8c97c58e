"""Who is taken for a client that takes another router, and who is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from appliance.flows.one_way import LATE_S, LOOK_S, OneWay
from appliance.intercept import HalfOpen
from appliance.loop import Loop

SERVER = ("10.2.0.2", 80)
FRESH = HalfOpen(("10.1.0.5", 1000), SERVER, 0)
SILENT = HalfOpen(("10.1.0.6", 1000), SERVER, 1)
BRIEF = HalfOpen(("10.1.0.7", 1000), SERVER, 1)
TWICE = HalfOpen(("10.1.0.6", 1001), SERVER, 2)


class World:
    def __init__(self) -> None:
        self.now = 100.0
        self.loop = Loop(lambda: self.now)
        self.half_open: list[HalfOpen] = []
        self.found: list[tuple[str, set[HalfOpen]]] = []
        self.one_way = OneWay(self.loop, lambda: self.half_open, self._take)

    def _take(self, client: str, connections: list[HalfOpen]) -> None:
        self.found.append((client, set(connections)))

    def look(self, *half_open: HalfOpen, late: float = 0.0) -> None:
        self.half_open = list(half_open)
        self.now += LOOK_S + late
        self.loop.round()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.one_way.close()
    made.loop.close()


def test_a_client_that_stays_silent_is_found_with_all_it_has_begun(world: World) -> None:
    world.look(FRESH, SILENT, TWICE, BRIEF)
    assert not world.found
    world.look(FRESH, SILENT, TWICE)
    assert world.found == [("10.1.0.6", {SILENT, TWICE})]


def test_a_box_that_was_late_itself_accuses_nobody(world: World) -> None:
    world.look(SILENT)
    world.look(SILENT, late=LATE_S + 0.1)
    world.look(SILENT)
    assert not world.found
    world.look(SILENT)
    assert len(world.found) == 1
