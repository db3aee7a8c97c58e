"""The passwords that an RODC keeps, so that their owners can log on while the centre is out of reach.

Each round asks the centre who belongs to the list, groups within groups, and fetches what is new or has changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ldb
from samba import WERRORError
from samba.dcerpc import drsuapi, misc, security
from samba.drs_utils import drs_Replicate
from samba.ndr import ndr_unpack

from vmhost.directory.guest.machine import write

_IN_CHAIN = "1.2.840.113556.1.4.1941"


def members(centre: Any, wanted: Iterable[str]) -> dict[str, str]:
    """DN, and when its password was set, of each account among `wanted` (GUIDs of users and groups) that is there."""
    found: dict[str, str] = {}
    for guid in wanted:
        try:
            (one,) = centre.search(
                base=f"<GUID={guid}>", scope=ldb.SCOPE_BASE, attrs=["objectClass", "objectSid"]
            )
        except ldb.LdbError as error:
            if error.args[0] != ldb.ERR_NO_SUCH_OBJECT:
                raise
            continue
        if b"group" in one["objectClass"]:
            rid = ndr_unpack(security.dom_sid, one["objectSid"][0]).split()[1]
            name = ldb.binary_encode(str(one.dn))
            chosen = f"(&(objectClass=user)(|(memberOf:{_IN_CHAIN}:={name})(primaryGroupID={rid})))"
            found.update(_accounts(centre, None, ldb.SCOPE_SUBTREE, chosen))
        else:
            found.update(_accounts(centre, one.dn, ldb.SCOPE_BASE, "(objectClass=user)"))
    return found


def _accounts(centre: Any, base: Any, scope: int, chosen: str) -> Iterator[tuple[str, str]]:
    # In pages: an answer has a thousand entries at most.
    for one in centre.search(
        base=base, scope=scope, expression=chosen, attrs=["pwdLastSet"], controls=["paged_results:1:500"]
    ):
        yield str(one.dn), str(one.get("pwdLastSet", idx=0) or "0")


class Kept:
    """Which passwords are here, and from when; in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._since: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}

    def stale(self, found: dict[str, str]) -> list[str]:
        """DNs of those that are new or have changed."""
        return [name for name, since in found.items() if self._since.get(name) != since]

    def have(self, found: dict[str, str]) -> None:
        """All of these are here now."""
        self._since = found
        write(str(self._file), json.dumps(found))


def fetch(centre: Any, local: Any, server: str, lp: Any, creds: Any, names: Iterable[str]) -> dict[str, str]:
    """Copy the passwords of `names` (DNs) from `server`. Why it was not given, of each that was not."""
    us = misc.GUID(local.get_ntds_GUID())
    (service,) = centre.search(base=centre.get_dsServiceName(), scope=ldb.SCOPE_BASE, attrs=["invocationId"])
    them = misc.GUID(local.schema_format_value("objectGUID", service["invocationId"][0]))
    copying = drs_Replicate(f"ncacn_ip_tcp:{server}[seal]", lp, creds, local, us)
    refused = {}
    for name in names:
        local.transaction_start()
        try:
            copying.replicate(name, them, us, exop=drsuapi.DRSUAPI_EXOP_REPL_SECRET, rodc=True)
        except WERRORError as error:
            local.transaction_cancel()
            refused[name] = str(error.args[1])
        except BaseException:
            local.transaction_cancel()
            raise
        else:
            local.transaction_commit()
    return refused
