"""Which backups are let go of, and when the next is due. Pure; times are seconds of one clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RETRY_S = 3600.0
"""After a backup that failed the next is tried so much later, or after the interval if that is shorter."""


@dataclass(frozen=True)
class Kept:
    """A backup, by its stamp; `proved` is None if nobody has tried it."""

    stamp: str
    proved: bool | None = None


def surplus(backups: Sequence[Kept], keep: int) -> list[str]:
    """The stamps of those that may go when `keep` are enough.

    The newest `keep` stay; beside them the newest that was not found bad and the newest that was proved.
    """
    newest = sorted(backups, key=lambda one: one.stamp, reverse=True)
    stay = {one.stamp for one in newest[:keep]}
    for good in (
        next((one for one in newest if one.proved is not False), None),
        next((one for one in newest if one.proved), None),
    ):
        if good is not None:
            stay.add(good.stamp)
    return sorted(one.stamp for one in newest if one.stamp not in stay)


def due(every: float, taken: float | None, failed: float | None) -> float:
    """When the next is to be taken: after the last one that was `taken`, and a while after a try that `failed`."""
    regular = 0.0 if taken is None else taken + every
    return regular if failed is None else max(regular, failed + min(every, RETRY_S))
