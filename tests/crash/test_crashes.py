"""Hundreds of crashes under traffic."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.crash.sides import Side, Traffic
from tests.unit.dedupe.corpus import meet
from tests.unit.dedupe.store.power import Cut
from tests.unit.dedupe.store.reading import agreed

WARM = 0.95


def reconnect(sides: tuple[Side, Side], crashed: list[Side], chance: random.Random) -> int:
    """Returns how often it took another crash to get there."""
    more = 0
    for side in crashed:
        while side.cache is None:
            try:
                side.files.fuse = chance.randrange(30) if chance.random() < 0.2 else None
                side.open()
                side.files.fuse = None
            except Cut:
                more += 1
                side.crash(power=chance.random() < 0.5, fuse=0)
    if chance.random() < 0.2:  # one has offered, and is gone before it can accept
        unlucky = chance.choice(sides)
        assert unlucky.cache is not None
        unlucky.cache.offer()
        unlucky.crash(power=chance.random() < 0.5, fuse=chance.randrange(10))
        unlucky.open()
        more += 1
    left, right = (side.cache for side in sides)
    assert left is not None
    assert right is not None
    meet(left, right)
    agreed(left, right)
    agreed(right, left)
    return more


@pytest.mark.timeout(1800)
def test_crashes(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    wanted, seed = request.config.getoption("--crashes"), request.config.getoption("--seed")
    chance = random.Random(seed)
    sides = (Side(tmp_path, "branch", "dc", seed), Side(tmp_path, "dc", "branch", seed + 1))
    traffic = Traffic(chance)
    for side in sides:
        side.open()
    reconnect(sides, [], random.Random(0))
    crashes = warm = rounds = 0
    while crashes < wanted:
        traffic.known = [*traffic.known[1:], traffic.files()]
        for raw in traffic.known[-1]:
            traffic.send(*sides, raw)
        for side in sides:
            side.settle()
        for _ in range(chance.randrange(1, 30)):
            sender, receiver = chance.sample(sides, 2)
            if chance.random() < 0.5:
                traffic.send(sender, receiver, traffic.novel())
            else:
                traffic.send(sender, receiver, chance.choice(chance.choice(traffic.known)))
        crashed = chance.choice([[sides[0]], [sides[1]], list(sides)])
        for side in crashed:
            side.crash(power=chance.random() < 0.7, fuse=chance.randrange(12))
        crashes += 1 + reconnect(sides, crashed, chance)
        rounds += 1
        copied = sum(traffic.send(*sides, raw) for raw in traffic.known[-1])
        warm += copied > 0.9 * sum(map(len, traffic.known[-1]))
    for side in sides:
        side.crash(power=False, fuse=0)
    print(
        f"{crashes} crashes, {warm} of {rounds} warm, {traffic.wrong} wrong, {traffic.refused} blocks sent twice"
    )
    assert traffic.wrong == 0
    assert traffic.refused == 0
    assert warm >= WARM * rounds
