"""The machine's account: its one-time password is changed at once for one that only this machine knows."""

from __future__ import annotations

import secrets
from itertools import pairwise
from pathlib import Path
from typing import Any

import ldb
from samba import gensec
from samba.auth import system_session
from samba.credentials import Credentials
from samba.samdb import SamDB

from vmhost.directory.guest.machine import write

_WRONG_PASSWORD = (
    "INVALID_CREDENTIALS",
    "LOGON_FAILURE",
    "WRONG_PASSWORD",
    "ACCOUNT_DISABLED",
    "NO_SUCH_USER",
)


class RefusedError(Exception):
    """The centre does not know us, and will not however often it is asked; the message says what to do."""


def credentials(lp: Any, host: str, password: str) -> Any:
    """Of the account of `host`."""
    creds = Credentials()
    creds.guess(lp)
    creds.set_username(f"{host.upper()}$")
    creds.set_password(password)
    creds.set_domain(lp.get("workgroup"))
    creds.set_realm(lp.get("realm"))
    creds.set_gensec_features(creds.get_gensec_features() | gensec.FEATURE_SEAL)
    return creds


def connect(server: str, lp: Any, creds: Any) -> Any:
    """To a controller's LDAP. ldb.LdbError if it cannot be reached or refuses."""
    return SamDB(url=f"ldap://{server}", session_info=system_session(), credentials=creds, lp=lp)


def own(server: str, lp: Any, host: str, once: str, kept: Path) -> Any:
    """Credentials with a password of our own, kept in that file. `once` is changed for it if it still holds.

    RefusedError if neither is right; ldb.LdbError if there is no answer.
    """
    if not kept.exists():
        write(str(kept), f"{secrets.token_urlsafe(48)}.aA1")
    # Twice: NTLM takes the password before the present one for an hour more (OldPasswordAllowedPeriod).
    ours = kept.read_text()
    ways = [once, f"{ours}.between", ours]
    at = next((at for at in (2, 1, 0) if _right(server, lp, credentials(lp, host, ways[at]))), None)
    if at is None:
        raise RefusedError(
            f"the centre refuses the password of {host}: its stage file has been used before, or there is a newer one; "
            "`branchline vm stage directory --again` at the centre makes another"
        )
    for old, new in pairwise(ways[at:]):
        _change(connect(server, lp, credentials(lp, host, old)), host, old, new)
    return credentials(lp, host, ours)


def _change(database: Any, host: str, old: str, new: str) -> None:
    (found,) = database.search(expression=f"(sAMAccountName={ldb.binary_encode(host.upper())}$)", attrs=[])
    change = ldb.Message(found.dn)
    change["0"] = ldb.MessageElement(_quoted(old), ldb.FLAG_MOD_DELETE, "unicodePwd")
    change["1"] = ldb.MessageElement(_quoted(new), ldb.FLAG_MOD_ADD, "unicodePwd")
    database.modify(change)


def _right(server: str, lp: Any, creds: Any) -> bool:
    try:
        connect(server, lp, creds)
    except ldb.LdbError as error:
        if any(word in str(error) for word in _WRONG_PASSWORD):
            return False
        raise
    return True


def _quoted(password: str) -> bytes:
    return f'"{password}"'.encode("utf-16-le")
