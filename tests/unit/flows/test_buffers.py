"""The pool of read buffers: bounded, shared between parties, and nobody is kept waiting who may have one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.flows.buffers import Buffers, Share
from appliance.lanes.frames import MAX_BLOCK

POOL = 12


def pool() -> Buffers:
    return Buffers(2 * POOL * MAX_BLOCK)


def all_of(share: Share) -> list[bytearray]:
    """Takes until there is no more."""
    taken = []
    while share.available:
        buffer = share.take(lambda: None)
        assert buffer is not None
        taken.append(buffer)
    return taken


def test_a_party_alone_gets_two_thirds_and_another_one_finds_some() -> None:
    buffers = pool()
    assert len(all_of(buffers.share())) == 8
    assert len(all_of(buffers.share())) == 3


def test_a_pool_of_one_still_serves_one_after_the_other() -> None:
    buffers, told = Buffers(1), []
    one, other = buffers.share(), buffers.share()
    held = one.take(lambda: None)
    assert held is not None
    assert other.take(lambda: told.append("other")) is None
    one.give(held)
    assert told == ["other"]
    assert other.take(lambda: None) is not None


def test_messages_that_are_held_take_room_and_leave_it_again() -> None:
    buffers, told = pool(), []
    talker, reader = buffers.share(), buffers.share()
    assert talker.room == 2 * POOL * MAX_BLOCK
    talker.holds(POOL * MAX_BLOCK)
    assert talker.room == 0
    assert reader.take(lambda: told.append("reader")) is None
    talker.holds(0)
    assert told == ["reader"]
    assert reader.take(lambda: None) is not None


def test_parties_that_wait_are_told_by_turns() -> None:
    buffers, told = pool(), []
    greedy, modest = buffers.share(), buffers.share()
    held = all_of(greedy)
    assert all_of(modest)
    for _ in range(3):
        assert greedy.take(lambda: told.append("greedy")) is None
        assert modest.take(lambda: told.append("modest")) is None
    for _ in range(4):
        greedy.give(held.pop())
    assert told == ["modest", "modest", "greedy", "modest"]


def test_who_holds_too_much_does_not_keep_others_from_being_told() -> None:
    buffers, told = pool(), []
    greedy, modest = buffers.share(), buffers.share()
    all_of(greedy)
    (first, *_) = all_of(modest)
    assert greedy.take(lambda: told.append("greedy")) is None
    assert modest.take(lambda: told.append("modest")) is None
    modest.give(first)
    assert told == ["modest"]


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=200))
def test_no_more_is_taken_than_there_is_and_all_of_it_comes_back(steps: list[tuple[int, bool]]) -> None:
    buffers = pool()
    shares = [buffers.share() for _ in range(3)]
    held: list[list[bytearray]] = [[], [], []]
    for at, taking in steps:
        if taking:
            buffer = shares[at].take(lambda: None)
            held[at] += [buffer] if buffer is not None else []
        elif held[at]:
            shares[at].give(held[at].pop())
        assert buffers.taken == sum(map(len, held)) <= POOL
        assert buffers.free >= 0
    for share, own in zip(shares, held, strict=True):
        for buffer in own:
            share.give(buffer)
    assert buffers.taken == 0
    assert buffers.share().available
