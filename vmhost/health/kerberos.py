"""Whether a KDC gives an account a ticket."""

from __future__ import annotations

import struct
from pathlib import Path

from vmhost.health import tool
from vmhost.health.ldap import KEPT
from vmhost.health.private import Private
from vmhost.health.result import Result
from vmhost.health.target import Directory

NOBODY = "branchline-asks"
"""Who is asked for where there is no account: a KDC that answers says that it knows no such client."""
_REMEDIES = {
    "Password incorrect": "write the account's password into its file",
    "Preauthentication failed": "write the account's password into its file",
    "Client's credentials have been revoked": "the account is locked or disabled: unlock it at the centre",
    "Password has expired": "set the account's password so that it never expires",
    "not found in Kerberos database": "see whether the account is in this realm",
    "Clock skew": "set the clocks right: see the check `clock`",
    "not installed": "install it",
}


def kdc_offset(ticket: bytes) -> float | None:
    """Seconds the KDC's clock is ahead of ours, as kinit has put it at the head of a credential cache (version 4).

    The KDC tells whole seconds. None if it is not there.
    """
    if ticket[:2] != b"\x05\x04" or len(ticket) < 16:
        return None
    _, tag, length, seconds, micros = struct.unpack_from(">HHHii", ticket, 2)
    return seconds + micros / 1e6 if (tag, length) == (1, 8) else None


def offset_in(path: Path) -> float | None:
    """The same of a file."""
    try:
        with path.open("rb") as file:
            return kdc_offset(file.read(16))
    except OSError:
        return None


def judge(asked: str, said: tool.Said, *, anonymous: bool) -> Result:
    """From how kinit has ended."""
    latency = said.seconds * 1000
    if said.status == 0 and not anonymous:
        return Result(name="kerberos", ok=True, latency=latency, evidence=f"{asked}: a ticket")
    why = said.complaint.removeprefix("kinit: ")
    if anonymous and "not found in Kerberos database" in why:
        return Result(
            name="kerberos", ok=True, latency=latency, evidence=f"{asked}: it answers, there is none"
        )
    remedy = next((text for key, text in _REMEDIES.items() if key in why), "")
    return Result(
        name="kerberos",
        ok=False,
        latency=latency,
        evidence=f"{asked}: {why}",
        remedy=remedy or f"see whether the KDC runs and port 88 may pass; {KEPT}",
    )


async def check(target: Directory, private: Private) -> Result:
    """An AS exchange. kinit proves the answer with the password, so a wrong KDC cannot give a ticket."""
    principal = f"{target.account or NOBODY}@{target.realm.upper()}"
    said = await tool.run(
        *("kinit", "-c", str(private.ticket), principal),
        within=target.within,
        env=private.kerberos,
        typed=f"{private.secret}\n",
    )
    # What it asked for comes first on standard output; only what it complained of counts.
    return judge(f"a ticket for {principal}", said, anonymous=not target.account)
