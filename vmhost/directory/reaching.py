"""Whether the centre can be reached before a directory is made, and whether the directory serves when it has been."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from vmhost.errors import VmError
from vmhost.health.plan import Health, target_of
from vmhost.health.result import Result
from vmhost.health.round import check
from vmhost.health.target import Directory

SERVES = frozenset({"dns", "ldap", "kerberos"})
NEEDED = SERVES | {"clock"}
"""Without these of the centre no join succeeds."""


def wanting(results: Sequence[Result], needed: frozenset[str]) -> list[Result]:
    """What has been found instead of all that is `needed`; empty if that is ok."""
    good = {result.name for result in results if result.ok}
    return [] if good >= needed else [result for result in results if not result.ok]


async def check_centre(realm: str, addresses: Iterable[str], say: Callable[[str], None]) -> None:
    """VmError unless one of the centre's controllers answers this box, with a clock like ours.

    They are asked one after another; `say` is told which, and what is wrong with those before.
    """
    bad: list[str] = []
    for address in addresses:
        say("; ".join([*bad, f"asking the centre's controller {address}"]))
        wrong = wanting(await check(Directory(address=address, realm=realm)), NEEDED)
        if not wrong:
            return
        said = "; ".join(f"{one.name}: {one.evidence}; {one.remedy}" for one in wrong)
        bad.append(f"the centre's controller {address} cannot be used from here: {said}")
    said = "; ".join(bad) or "the stage file names no controller of the centre"
    raise VmError("refused", f"{said}; nothing has been changed, and the stage file is still good")


async def check_service(plan: Health) -> list[dict[str, Any]]:
    """What is found at a new directory that is checked so; VmError if it does not serve."""
    results = await check(target_of(plan))
    if wrong := wanting(results, SERVES):
        said = "; ".join(f"{one.name}: {one.evidence}" for one in wrong)
        raise VmError("failed", f"the machine says it serves, but this box finds otherwise: {said}")
    return [{"name": one.name, "ok": one.ok, "evidence": one.evidence} for one in results]
