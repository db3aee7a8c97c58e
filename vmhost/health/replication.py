"""How old what a controller knows is: read from its own records of the partners it pulls from.

`repsFrom` is REPS_FROM of MS-DRSR (5.170), which any account may read.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from vmhost.health import ldif
from vmhost.health.ldap import Root, bound_search
from vmhost.health.private import Private
from vmhost.health.result import Result
from vmhost.health.target import Directory

_TO_1601 = 11_644_473_600
_HEAD = struct.Struct("<IIIIQQI")  # version, -, size, failures, success, attempt, result
_MOST_CONTEXTS = 16


@dataclass(frozen=True)
class Partner:
    """success: when it was last pulled from, seconds since 1970, 0 for never. error: of the last try, 0 for none."""

    context: str
    success: float
    failures: int
    error: int


def partner(context: str, blob: bytes) -> Partner | None:
    """From one value of repsFrom; None if it is not one."""
    if len(blob) < _HEAD.size:
        return None
    version, _, size, failures, success, _, error = _HEAD.unpack_from(blob)
    if version not in (1, 2) or size > len(blob):
        return None
    return Partner(context, max(0.0, float(success - _TO_1601)), failures, error)


def judge(
    partners: Sequence[Partner], others: int, now: float, within: float, asked: str, latency: float
) -> Result:
    """`others`: how many more controllers there are."""

    def result(evidence: str, remedy: str = "") -> Result:
        return Result(
            name="replication",
            ok=not remedy,
            latency=latency,
            evidence=f"{asked}: {evidence}",
            remedy=remedy,
        )

    if not partners:
        if not others:
            return result("it is the only controller")
        return result(
            f"no partner, though there are {others} more", "`samba-tool drs kcc` on it finds partners"
        )
    # One good partner of a partition is enough.
    best: dict[str, Partner] = {}
    for one in partners:
        if one.context not in best or one.success > best[one.context].success:
            best[one.context] = one
    oldest = min(best.values(), key=lambda one: one.success)
    failing = [one for one in best.values() if one.failures]
    age = now - oldest.success
    old = f"the oldest of {len(best)} partitions is {_age(age)} old" if oldest.success else "never done"
    if failing:
        worst = max(failing, key=lambda one: one.failures)
        return result(
            f"{old}; {worst.context} has failed {worst.failures} times, error {worst.error}",
            "see whether the centre can be reached; `samba-tool drs showrepl` on it says more",
        )
    if not oldest.success or age > within:
        return result(
            f"{old} ({oldest.context}), though none failed",
            "`samba-tool drs replicate` on it asks at once; see that replication is not disabled",
        )
    return result(old)


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


async def check(target: Directory, host: str, private: Private, found: Root, now: float) -> Result:
    """Ask each partition for its partners."""
    asked = "last pull from each partner"
    partners: list[Partner] = []
    latency, others = 0.0, 0
    for context in found.contexts[:_MOST_CONTEXTS]:
        said = await bound_search(target, host, private, "-s", "base", "-b", context, "repsFrom")
        latency = max(latency, said.seconds * 1000)
        if said.status != 0:
            return not_asked(f"{asked}: {said.complaint}", latency)
        blobs = [blob for entry in ldif.parse(said.out) for blob in entry.get("repsfrom", [])]
        partners += [one for blob in blobs if (one := partner(context, blob)) is not None]
    if not partners:
        writable = "(objectCategory=nTDSDSA)"  # an RODC is of another: nobody pulls from it
        sites = next(
            (f"CN=Sites,{name}" for name in found.contexts if name.startswith("CN=Configuration,")), ""
        )
        said = await bound_search(target, host, private, "-b", sites, writable, "dn")
        if said.status != 0:
            return not_asked(f"the number of controllers: {said.complaint}", latency)
        names = [ldif.first(entry, "dn") for entry in ldif.parse(said.out) if "dn" in entry]
        others = sum(name != found.service for name in names)
    return judge(partners, others, now, target.replication_within, asked, latency)


def not_asked(evidence: str, latency: float) -> Result:
    """The directory does not tell."""
    return Result(
        name="replication", ok=False, latency=latency, evidence=evidence, remedy="see the check `ldap`"
    )
