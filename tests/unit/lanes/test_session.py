"""Sessions: whatever happens to the lanes, every frame arrives once and in order."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.lanes import frames
from appliance.lanes.session import OVERHEAD, Receiver, Sender, SessionError


class TwoEnds(RuleBasedStateMachine):
    """A sender, a receiver, and between them lanes that are lost with what they carry."""

    def __init__(self) -> None:
        super().__init__()
        self.sender: Sender[int] = Sender()
        self.receiver = Receiver()
        self.lane: list[bytes] | None = []
        self.pushed: list[bytes] = []
        self.taken: list[bytes] = []
        self.tokens: list[int] = []

    @rule(size=st.integers(0, 9))
    def push(self, size: int) -> None:
        frame = bytes([len(self.pushed) % 256]) * size
        number = self.sender.push(frame, len(self.pushed))
        assert number == len(self.pushed)
        self.pushed.append(frame)
        if self.lane is not None:
            self.lane.append(frame)

    @precondition(lambda self: self.lane)
    @rule(count=st.integers(1, 5))
    def arrive(self, count: int) -> None:
        assert self.lane is not None
        for frame in self.lane[:count]:
            self.taken.append(frame)
            self.receiver.arrived += 1
            self.receiver.took(len(frame))
        del self.lane[:count]

    @rule()
    def acknowledge(self) -> None:
        self.tokens += self.sender.acknowledge(self.receiver.announce())

    @rule()
    def lose_the_lane(self) -> None:
        self.lane = None

    @precondition(lambda self: self.lane is None)
    @rule()
    def resume(self) -> None:
        self.lane = list(self.sender.resume(self.receiver.arrived))

    @invariant()
    def in_order_and_complete(self) -> None:
        assert self.taken == self.pushed[: len(self.taken)]
        assert self.tokens == list(range(len(self.tokens)))
        if self.lane is not None:
            assert self.taken + self.lane == self.pushed
        held = self.pushed[len(self.tokens) :]
        assert self.sender.held_bytes == sum(map(len, held)) + OVERHEAD * len(held)


TestTwoEnds = TwoEnds.TestCase


OTHERS = 64 << 10  # bytes that anything else in this process may allocate meanwhile


@pytest.mark.parametrize("size", [0, 30, 4000])
def test_what_is_held_is_counted_as_the_memory_that_it_takes(size: int) -> None:
    sender: Sender[int] = Sender()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for stream in range(5000):
            sender.push(frames.data(stream, 0, 0, bytes(size)))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken - OTHERS <= sender.held_bytes <= 1.5 * taken


def test_a_peer_that_lies_about_its_count_is_found_out() -> None:
    sender: Sender[int] = Sender()
    for number in range(3):
        sender.push(b"x", number)
    with pytest.raises(SessionError):
        sender.acknowledge(4)
    assert sender.acknowledge(2) == [0, 1]
    for received in (1, 4):
        with pytest.raises(SessionError):
            sender.resume(received)
    for number in (1, 3):
        with pytest.raises(SessionError):
            sender.token(number)
    assert sender.token(2) == 2


def test_acknowledgements_are_due_after_many_frames_or_many_bytes() -> None:
    receiver = Receiver()
    due = [receiver.took(1) for _ in range(Receiver.FRAMES)]
    assert due == [False] * (Receiver.FRAMES - 1) + [True]
    assert receiver.announce() == Receiver.FRAMES
    assert not receiver.pending
    assert receiver.took(Receiver.BYTES)
