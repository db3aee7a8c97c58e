"""What the readings of a soak mean. Pure."""

import statistics
from collections.abc import Iterator, Sequence

from appliance.lab.soak.gauges import Reading
from appliance.lab.stress.figure import Figure

FLAT_MIB, FLAT_SHARE = (
    4.0,
    0.03,
)  # by which memory may differ between the quarters, and what of itself besides
MORE_DESCRIPTORS = 2
MORE_CONNECTIONS = 8  # of the boxes' own lanes, and what was closed of late


def growth(values: Sequence[float]) -> float:
    """How far the median of the last quarter lies above that of the second; in the first one caches fill."""
    quarter = max(1, len(values) // 4)
    return statistics.median(values[-quarter:]) - statistics.median(values[quarter : 2 * quarter] or values)


def memory(readings: Sequence[Reading]) -> Iterator[Figure]:
    """RSS of each process: its growth, which is to be next to none, in MiB."""
    for name in readings[0].rss:
        values = [reading.rss[name] for reading in readings if name in reading.rss]
        limit = FLAT_MIB + FLAT_SHARE * statistics.median(values)
        yield Figure(f"rss_growth {name}", growth(values), f"MiB of {statistics.median(values):.0f}", limit)


def restarts(readings: Sequence[Reading]) -> Figure:
    """Processes that another one has taken the place of, or that were missing."""
    seen = {(name, reading.pids.get(name)) for reading in readings for name in readings[0].pids}
    return Figure("restarts", len(seen) - len(readings[0].pids), "processes", 0)


def left_over(before: Reading, after: Reading) -> Iterator[Figure]:
    """What is still there when all flows have ended, beyond what was there before the first one."""
    for name, count in before.descriptors.items():
        yield Figure(
            f"descriptors {name}",
            after.descriptors.get(name, 0) - count,
            f"more than {count}",
            MORE_DESCRIPTORS,
        )
    for name, count in before.sockets.items():
        yield Figure(f"sockets {name}", after.sockets[name] - count, f"more than {count}", MORE_DESCRIPTORS)
    for name, count in before.connections.items():
        yield Figure(
            f"conntrack {name}", after.connections[name] - count, f"more than {count}", MORE_CONNECTIONS
        )


def nothing_left(before: Reading, after: Reading) -> bool:
    return all(figure.ok for figure in left_over(before, after))
