"""The loop that looks on: packet sockets in, an estimate out, never more than half a core.

A packet that the kernel hands over costs about 10 µs here. When it is more than that allows, only the flows of every
second, fourth, eighth … address are looked at: the kernel drops the others' packets before they cost anything.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from appliance.estimate.report import Cost, Report, report
from appliance.estimate.savings import Savings
from appliance.estimate.traffic import Network, Traffic
from appliance.observing import filters
from appliance.observing.tap import Tap

QUEUE = 32 << 20  # bytes of packets that wait in the kernel, for each interface
LONGEST = 256 << 10  # bytes of a packet, before the card or the kernel cuts it up
BATCH = 256  # packets of one interface before the others have their turn
CHECK_S = 0.5
MOST_CPU = 0.5  # of one core
MOST_SHIFT = 12
OTHER_SHIFT = 4  # of packets that are no TCP, one in 16 is counted
PLAIN_NICE = 10


def watch(
    interfaces: Sequence[str],
    seconds: float,
    *,
    cache: int,
    sites: tuple[Network, ...] = (),
    progress: Callable[[float, Traffic], None],
    enough: Callable[[], bool],
) -> Report:
    """Looks on for so long, or until somebody has seen `enough`, and says what it found.

    cache: bytes of the codec's log. progress is told about twice a second how long it has been, and what there is.
    OSError when an interface cannot be listened to.
    """
    traffic = Traffic(Savings(cache).encoded, sites)
    traffic.other_weight = 1 << OTHER_SHIFT
    buffer = memoryview(bytearray(LONGEST))
    began, cpu = time.monotonic(), time.process_time()
    dropped = shift = 0
    checked = [began, cpu]
    with ExitStack() as stack:
        taps = [
            stack.enter_context(Tap(name, filters.sample(shift, OTHER_SHIFT), queue=QUEUE))
            for name in interfaces
        ]
        poll = stack.enter_context(select.epoll())
        by_number = {tap.fileno(): tap for tap in taps}
        for number in by_number:
            poll.register(number, select.EPOLLIN)
        while (now := time.monotonic()) < began + seconds and not enough():
            for number, _ in poll.poll(min(CHECK_S, began + seconds - now)):
                _drain(by_number[number], traffic, buffer)
            if now - checked[0] >= CHECK_S:
                lost = sum(tap.dropped() for tap in taps)
                used = (time.process_time() - checked[1]) / (now - checked[0])
                checked = [now, time.process_time()]
                dropped += lost
                if (lost or used > MOST_CPU) and shift < MOST_SHIFT:
                    shift += 1
                    traffic.weight = 1 << shift
                    for tap in taps:
                        tap.narrow(filters.sample(shift, OTHER_SHIFT))
                progress(now - began, traffic)
        for tap in taps:
            tap.narrow(filters.NOTHING)
            while _drain(tap, traffic, buffer):
                pass
    lasted = time.monotonic() - began
    sums = traffic.finish()
    spent = (time.process_time() - cpu) / lasted
    return report(lasted, sums, traffic.other, Cost(spent, traffic.packets, dropped, 1 << shift))


def yield_to_others() -> None:
    """This process is the least important one of the box."""
    os.nice(PLAIN_NICE)


def _drain(tap: Tap, traffic: Traffic, buffer: memoryview) -> bool:
    """Takes what waits; whether there may be more."""
    for _ in range(BATCH):
        try:
            length = tap.receive_into(buffer)
        except BlockingIOError:
            return False
        traffic.packet(buffer[:length])
    return True
