"""What a check has found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from vmhost.printable import printable

State = Literal["healthy", "degraded", "failed"]

VITAL = frozenset({"dns", "ldap", "kerberos", "tcp", "http"})
"""Without these nobody can log on, or be served; without the others things go wrong later."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Of one check. latency: milliseconds from the question to the answer, the start of a tool included."""

    name: str
    ok: bool
    latency: float
    evidence: str
    """What was asked and what came."""
    remedy: str = ""
    """What to do, if it is not ok."""


def printed(result: Result) -> Result:
    """As a person may see it: servers have had their say in it."""
    return msgspec.structs.replace(result, evidence=printable(result.evidence))


def state_of(results: Iterable[Result]) -> State:
    """Failed if a vital check is not ok, degraded if another is not."""
    wrong = {result.name for result in results if not result.ok}
    if wrong & VITAL:
        return "failed"
    return "degraded" if wrong else "healthy"
