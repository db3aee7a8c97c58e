"""The account that the box logs on as to see whether its directory serves: a user of the domain without any rights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ldb
from samba.auth import system_session
from samba.dsdb import UF_DONT_EXPIRE_PASSWD, UF_NORMAL_ACCOUNT
from samba.param import LoadParm
from samba.samdb import SamDB

from vmhost.directory.guest.seed import checker

MARK = "branchline"
"""In `adminDescription` of the accounts that are ours to make anew or remove."""


def where(database: Any, host: str) -> str:
    """Its DN."""
    return f"CN={checker(host)},CN=Users,{database.domain_dn()}"


def make(database: Any, host: str, password: str) -> None:
    """Add it, in one step; its password never expires. ldb.LdbError."""
    database.add(
        {
            "dn": where(database, host),
            "objectClass": "user",
            "sAMAccountName": checker(host),
            "userPrincipalName": f"{checker(host)}@{database.domain_dns_name()}",
            "description": f"Branchline's health checks of {host}",
            "adminDescription": MARK,
            "userAccountControl": str(UF_NORMAL_ACCOUNT | UF_DONT_EXPIRE_PASSWD),
            "unicodePwd": f'"{password}"'.encode("utf-16-le"),
        }
    )


def find(database: Any, host: str) -> Any:
    """Its entry with `adminDescription`, or None."""
    chosen = f"(sAMAccountName={ldb.binary_encode(checker(host))})"
    found = database.search(expression=chosen, attrs=["adminDescription", "objectGUID"])
    return found[0] if found else None


def remove(database: Any, host: str) -> None:
    """If it is ours, and there."""
    found = find(database, host)
    if found is not None and str(found.get("adminDescription", idx=0)) == MARK:
        database.delete(found.dn)


def make_here(host: str, password: str) -> None:
    """In the databases of this machine, Samba's configuration says which. subprocess.CalledProcessError.

    In a process of its own: what makes or restores a domain leaves its databases open, elsewhere than they are now.
    """
    command = [sys.executable, "-P", "-m", __name__, host]
    where_we_are = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run(command, input=json.dumps(password), text=True, check=True, env=where_we_are)


def main() -> None:
    """Make that of the controller that is named, in place of the one that an archive may have."""
    lp = LoadParm()
    lp.load_default()
    database = SamDB(session_info=system_session(), lp=lp)
    remove(database, sys.argv[1])
    make(database, sys.argv[1], json.load(sys.stdin))


if __name__ == "__main__":
    main()
