"""All checks of a directory, each bounded and none hiding another."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import msgspec

from vmhost.health import clock, dns, kerberos, ldap, replication, sysvol
from vmhost.health.private import Private, SecretError
from vmhost.health.result import Result
from vmhost.health.target import Directory

_MOST_QUESTIONS = 3  # of one check, each of which may take all its time


async def check(target: Directory) -> list[Result]:
    """In the order a client needs them."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            return await _check(target, Private(Path(directory), target))
        except SecretError as error:
            what, _, remedy = str(error).rpartition("; ")
            wrong = Result(name="account", ok=False, latency=0.0, evidence=what, remedy=remedy)
            nobody = msgspec.structs.replace(target, account="", secret="")
            return [wrong, *await _check(nobody, Private(Path(directory), nobody))]


async def _check(target: Directory, private: Private) -> list[Result]:
    found = await ldap.root(target)
    host, site = (target.host or found.host).lower(), target.site or found.site
    await private.know(host, target.address)

    async def logging_on() -> list[Result]:
        by_kdc = await kerberos.check(target, private)
        after = [clock.check(target, found.offset, kerberos.offset_in(private.ticket))]
        if target.account:
            after.append(sysvol.check(target, host, private, ticket=by_kdc.ok))
        return [by_kdc, *await asyncio.gather(*after)]

    async def searching() -> list[Result]:
        if not target.account or found.trouble:
            return [ldap.judge_root(found)]
        return [await ldap.check(target, host, private, found)]

    async def looking_up() -> list[Result]:
        return [await dns.check(target, host, site)]

    async def replicating() -> list[Result]:
        if not target.account:
            return []
        if found.trouble:
            return [replication.not_asked(found.trouble, found.latency)]
        return [await replication.check(target, host, private, found, time.time())]

    parts = {"dns": looking_up(), "ldap": searching(), "kerberos": logging_on(), "replication": replicating()}
    limit = _MOST_QUESTIONS * target.within
    outcomes = await asyncio.gather(
        *(asyncio.wait_for(part, limit) for part in parts.values()), return_exceptions=True
    )
    results: list[Result] = []
    for name, outcome in zip(parts, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            results.append(_broken(name, outcome, limit))
        else:
            results += outcome
    return results


def _broken(name: str, error: BaseException, limit: float) -> Result:
    what = f"no end within {limit:g} s" if isinstance(error, TimeoutError) else f"{error!r}"
    remedy = "see whether the machine is overloaded"
    return Result(name=name, ok=False, latency=limit * 1000, evidence=what, remedy=remedy)
