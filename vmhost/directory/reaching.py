"""Whether the centre can be reached before a directory is made, and whether the directory serves when it has been."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_interface
from typing import Any

from vmhost.errors import VmError
from vmhost.health.result import Result
from vmhost.health.round import check
from vmhost.health.target import Directory

SERVES = frozenset({"dns", "ldap", "kerberos"})
NEEDED = SERVES | {"clock"}
"""Without these of the centre no join succeeds."""

WITHIN_S = 15.0  # for each question: an emulated guest has just begun


def wanting(results: Sequence[Result], needed: frozenset[str]) -> list[Result]:
    """What has been found instead of all that is `needed`; empty if that is ok."""
    good = {result.name for result in results if result.ok}
    return [] if good >= needed else [result for result in results if not result.ok]


async def check_centre(realm: str, addresses: Iterable[str]) -> None:
    """VmError unless one of the centre's controllers answers this box, with a clock like ours."""
    said = "the stage file names no controller of the centre"
    for address in addresses:
        wrong = wanting(await check(Directory(address=address, realm=realm)), NEEDED)
        if not wrong:
            return
        said = "; ".join(f"{one.name}: {one.evidence}; {one.remedy}" for one in wrong)
        said = f"the centre's controller {address} cannot be used from here: {said}"
    raise VmError("refused", f"{said}; nothing has been changed, and the stage file is still good")


async def check_service(seed: dict[str, Any]) -> list[dict[str, Any]]:
    """What is found at the new directory; VmError if it does not serve."""
    address = str(ip_interface(seed["address"]).ip)
    host = f"{seed['host']}.{seed['realm'].lower()}"
    target = Directory(address=address, realm=seed["realm"], host=host, site=seed["site"], within=WITHIN_S)
    results = await check(target)
    if wrong := wanting(results, SERVES):
        said = "; ".join(f"{one.name}: {one.evidence}" for one in wrong)
        raise VmError("failed", f"the machine says it serves, but this box finds otherwise: {said}")
    return [{"name": one.name, "ok": one.ok, "evidence": one.evidence} for one in results]
