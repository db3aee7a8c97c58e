"""Hundreds of crashes under traffic."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.sides import Side, Traffic
from tests.unit.dedupe.corpus import meet
from tests.unit.dedupe.store.power import Cut
from tests.unit.dedupe.store.reading import agreed

WARM = 0.95
MOMENTS = ("offered", "half accepted", "verifying")  # of a reconnect


def reopen(side: Side, chance: random.Random, counts: Counter[str]) -> None:
    """Until it is up; while it recovers it may crash again."""
    while side.cache is None:
        try:
            side.files.fuse = chance.randrange(30) if chance.random() < 0.2 else None
            side.open(verified=chance.random() < 0.5)
            side.files.fuse = None
        except Cut:
            counts["opening"] += 1
            side.crash(power=chance.random() < 0.5, fuse=0)


def crash_again(side: Side, chance: random.Random) -> None:
    side.crash(power=chance.random() < 0.5, fuse=chance.randrange(10))
    side.open(verified=chance.random() < 0.5)


def reconnect(
    sides: tuple[Side, Side],
    crashed: list[Side],
    traffic: Traffic,
    chance: random.Random,
    counts: Counter[str],
) -> None:
    """Until both are in one session; a crash may come at every step of that."""
    for side in crashed:
        reopen(side, chance, counts)
    while True:
        unlucky, other = chance.sample(sides, 2)
        where = chance.choice(MOMENTS) if chance.random() < 0.25 else ""
        offers = {side: side.up().offer() for side in sides}
        if where == "offered":  # nobody has accepted
            crash_again(unlucky, chance)
        elif where == "half accepted":  # the other one has
            other.up().accept(offers[unlucky])
            crash_again(unlucky, chance)
        else:
            for side, peer in (sides, sides[::-1]):
                side.up().accept(offers[peer])
        if where == "verifying":  # beside the first traffic of the session
            unlucky.nudge()
            for _ in range(chance.randrange(6)):
                traffic.send(unlucky, other, chance.choice(chance.choice(traffic.known)))
            crash_again(unlucky, chance)
        if not where:
            return
        counts[where] += 1


@pytest.mark.timeout(1800)
def test_crashes(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    wanted, seed = request.config.getoption("--crashes"), request.config.getoption("--seed")
    chance = random.Random(seed)
    sides = (Side(tmp_path, "branch", "dc", seed), Side(tmp_path, "dc", "branch", seed + 1))
    traffic = Traffic(chance)
    for side in sides:
        side.open()
    counts: Counter[str] = Counter()
    meet(sides[0].up(), sides[1].up())
    warm = rounds = 0
    while counts.total() < wanted:
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
        counts["traffic"] += 1
        reconnect(sides, crashed, traffic, chance, counts)
        left, right = sides[0].up(), sides[1].up()
        agreed(left, right)
        agreed(right, left)
        for side in sides:
            side.settle()  # read back what was not before the session
        rounds += 1
        copied = sum(traffic.send(*sides, raw) for raw in traffic.known[-1])
        warm += copied > 0.9 * sum(map(len, traffic.known[-1]))
    for side in sides:
        side.crash(power=False, fuse=0)
    print(
        f"{counts.total()} crashes ({', '.join(f'{count} {where}' for where, count in counts.items())}), "
        f"{warm} of {rounds} warm, {traffic.wrong} wrong, {traffic.refused} blocks sent twice"
    )
    assert traffic.wrong == 0
    assert traffic.refused == 0
    assert warm >= WARM * rounds
