"""Whether a directory answers, logs an account on, and finds it."""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vmhost.health import ldif, tool
from vmhost.health.private import Private
from vmhost.health.result import Result
from vmhost.health.target import Directory, is_name

ROOT = (
    "dnsHostName",
    "dsServiceName",
    "defaultNamingContext",
    "namingContexts",
    "currentTime",
    "isSynchronized",
)
KEPT = "an RODC whose centre is away logs on only those whose passwords it keeps"
_SITE = re.compile(r"^CN=NTDS Settings,CN=[^,]+,CN=Servers,CN=([^,]+),CN=Sites,", re.IGNORECASE)


@dataclass(frozen=True)
class Root:
    """What a controller says of itself to anybody. offset: seconds its clock is ahead of ours; asked: see `Result`."""

    host: str = ""
    site: str = ""
    base: str = ""
    service: str = ""
    """Its NTDS settings, the name that other controllers know it by."""
    contexts: tuple[str, ...] = ()
    offset: float | None = None
    synchronized: bool = False
    trouble: str = ""
    latency: float = 0.0


def read_root(text: str, now: float) -> Root:
    """From what ldapsearch has printed, at `now`. Names with anything odd in them are not believed."""
    entries = ldif.parse(text)
    entry = entries[0] if entries else {}
    site = _SITE.match(ldif.first(entry, "dsServiceName"))
    host = ldif.first(entry, "dnsHostName")
    try:
        told = time.strptime(ldif.first(entry, "currentTime").partition(".")[0], "%Y%m%d%H%M%S")
        offset = calendar.timegm(told) + 0.5 - now  # it tells whole seconds
    except ValueError:
        offset = None
    return Root(
        host=host.lower() if is_name(host) else "",
        site=site[1] if site is not None and is_name(site[1]) else "",
        base=ldif.first(entry, "defaultNamingContext"),
        service=ldif.first(entry, "dsServiceName"),
        contexts=tuple(value.decode(errors="replace") for value in entry.get("namingcontexts", [])),
        offset=offset,
        synchronized=ldif.first(entry, "isSynchronized") == "TRUE",
        trouble="" if entry else "it told nothing about itself",
    )


async def _search(target: Directory, where: str, *words: str, named: Sequence[str] = ()) -> tool.Said:
    patience = max(1, int(target.within))
    verified = {"LDAPTLS_CACERT": target.ca, "LDAPTLS_REQCERT": "demand"}
    return await tool.run(
        *(*named, "ldapsearch", "-x", "-LLL", "-o", "ldif-wrap=no", "-o", f"nettimeout={patience}"),
        *("-l", str(patience), "-z", "1000", "-H", f"ldap://{where}", *words),
        within=target.within,
        env=verified if target.ca else {"LDAPTLS_REQCERT": "never"},
    )


def _literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address


async def root(target: Directory) -> Root:
    """Ask without an account."""
    said = await _search(target, _literal(target.address), "-s", "base", "-b", "", *ROOT)
    if said.status != 0:
        return Root(trouble=said.complaint, latency=said.seconds * 1000)
    found = read_root(said.out, time.time() - said.seconds / 2)
    return replace(found, latency=said.seconds * 1000)


async def bound_search(target: Directory, host: str, private: Private, *words: str) -> tool.Said:
    """A search as the account: its password goes through TLS."""
    where = host if private.named else _literal(target.address)
    account = f"{target.account}@{target.realm}"
    bind = ("-ZZ", "-D", account, "-y", str(private.password))
    return await _search(target, where, *bind, *words, named=private.named)


def judge_root(found: Root) -> Result:
    """Without an account."""
    return Result(
        name="ldap",
        ok=not found.trouble and found.synchronized,
        latency=found.latency,
        evidence=f"asked for the root of the directory: {found.trouble or _described(found)}",
        remedy="" if found.synchronized else _remedy(found.trouble),
    )


def _described(found: Root) -> str:
    said = f"{found.host} in site {found.site}, {found.base}"
    return said if found.synchronized else f"{said}; it has not replicated the whole directory yet"


async def check(target: Directory, host: str, private: Private, found: Root) -> Result:
    """Log on and look the account up."""
    wanted = f"(sAMAccountName={target.account})"
    said = await bound_search(target, host, private, "-b", found.base, wanted, "dn")
    latency = said.seconds * 1000
    asked = f"bind as {target.account} through TLS, search {found.base} for {wanted}"
    names = [ldif.first(entry, "dn") for entry in ldif.parse(said.out) if "dn" in entry]
    if said.status != 0 or not names:
        why = "nothing found" if said.status == 0 else said.complaint
        return Result(name="ldap", ok=False, latency=latency, evidence=f"{asked}: {why}", remedy=_remedy(why))
    if not found.synchronized:
        return Result(
            name="ldap",
            ok=False,
            latency=latency,
            evidence=_described(found),
            remedy="wait, or see replication",
        )
    return Result(name="ldap", ok=True, latency=latency, evidence=f"{asked}: {names[0]}")


def _remedy(why: str) -> str:
    if "credentials" in why.lower():
        return "write the account's password into its file"
    if "start_tls" in why:
        return "see whether its certificate is one that `ca` has signed for its name, and that it offers StartTLS"
    if "not installed" in why:
        return "install it"
    if "nothing found" in why:
        return "see whether the account is in this domain"
    return f"see whether the directory runs and port 389 may pass; {KEPT}"
