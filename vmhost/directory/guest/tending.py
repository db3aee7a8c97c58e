"""What is brought up to date again and again while the machine serves."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ldb
from samba import NTSTATUSError, WERRORError
from samba.auth import system_session
from samba.credentials import Credentials
from samba.param import LoadParm
from samba.samdb import SamDB

from vmhost.directory.guest import account, passwords, sysvol
from vmhost.directory.guest.seed import Seed

DNS_WITHIN_S = 600.0  # a machine that is emulated is slow

Say = Callable[[str, float], None]


def tend(seed: Seed, data: Path, say: Say) -> None:
    """One round. OSError or Samba's errors if the centre does not answer; the next round goes on."""
    _register(data / "registered", say)
    if seed.role == "new":
        return
    lp = LoadParm()
    lp.load_default()
    creds = Credentials()
    creds.guess(lp)
    creds.set_machine_account(lp)
    server, centre = _reach(seed.centre, lp, creds)
    say(f"copying policies from {server}", 0.3)
    sysvol.copy(server, lp, creds, seed.domain, data / "sysvol.unfinished")
    if seed.role == "rodc":
        say(f"fetching passwords from {server}", 0.6)
        _passwords(seed, data, server, centre, lp, creds, say)


def _register(done: Path, say: Say) -> None:
    """In DNS, once; Samba sees to it later. The site's clients are to find us as soon as we are said to be ready."""
    if done.exists():
        return
    say("registering in DNS", 0.0)
    # Its exit status says nothing: an RODC is refused the records of the global catalogue, and does not need them.
    subprocess.run(["samba_dnsupdate"], capture_output=True, timeout=DNS_WITHIN_S, check=False)
    done.touch()


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
