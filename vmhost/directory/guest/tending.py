"""What is brought up to date again and again while the machine serves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ldb
from samba import NTSTATUSError, WERRORError
from samba.auth import system_session
from samba.credentials import Credentials
from samba.param import LoadParm
from samba.samdb import SamDB

from vmhost.directory.guest import account, passwords, registering, sysvol
from vmhost.directory.guest.seed import Seed

Say = Callable[[str, float], None]


def tend(seed: Seed, data: Path, say: Say) -> None:
    """One round. OSError or Samba's errors if the centre does not answer; the next round goes on.

    The site's clients are to find us as soon as we are said to be ready; later Samba sees to that.
    """
    registered = data / "registered"
    lp = LoadParm()
    lp.load_default()
    if not registered.exists():
        say("registering in DNS", 0.0)
        registering.send()
    if seed.role != "new":
        _copy(seed, data, lp, say)
    if not registered.exists():
        say("waiting until DNS names this controller", 0.95)
        registering.wait(seed, lp)
        registered.touch()


def _copy(seed: Seed, data: Path, lp: LoadParm, say: Say) -> None:
    creds = Credentials()
    creds.guess(lp)
    creds.set_machine_account(lp)
    server, centre = _reach(seed.centre, lp, creds)
    say(f"copying policies from {server}", 0.3)
    sysvol.copy(server, lp, creds, seed.domain, data / "sysvol.unfinished")
    if seed.role == "rodc":
        say(f"fetching passwords from {server}", 0.6)
        _passwords(seed, data, server, centre, lp, creds, say)


def _reach(names: tuple[str, ...], lp: Any, creds: Any) -> tuple[str, Any]:
    """The first of them that answers, and the connection."""
    failed = None
    for name in names:
        try:
            return name, account.connect(name, lp, creds)
        except (ldb.LdbError, NTSTATUSError, WERRORError) as error:
            failed = error
    raise failed or OSError("the centre has no controller that could be asked")


def _passwords(seed: Seed, data: Path, server: str, centre: Any, lp: Any, creds: Any, say: Say) -> None:
    found = passwords.members(centre, seed.prefetch)
    kept = passwords.Kept(data / "passwords.json")
    stale = kept.stale(found)
    if not stale:
        return
    local = SamDB(session_info=system_session(), credentials=creds, lp=lp)
    refused = passwords.fetch(centre, local, server, lp, creds, stale)
    for name, why in refused.items():
        say(f"{name}: {server} does not give its password ({why})", 0.9)
    kept.have({name: since for name, since in found.items() if name not in refused})
