"""The domain's DNS names this controller in its site: so clients there find it, and not one across the WAN."""

from __future__ import annotations

import subprocess
import time
from ipaddress import ip_interface
from typing import Any

import dns.exception
import dns.resolver
import ldb
from samba import NTSTATUSError, WERRORError
from samba.auth import system_session
from samba.dcerpc import drsuapi, misc
from samba.param import LoadParm
from samba.samdb import SamDB

from vmhost.directory.guest.seed import Seed

SENT_WITHIN_S = 600.0  # a machine that is emulated is slow
NAMED_WITHIN_S = 120.0
_LOOK_S = 2.0
_ANSWER_S = 10.0


def send() -> None:
    """Our names to the centre's DNS; Samba repeats that later."""
    # Its exit status says nothing: an RODC is refused the records of the global catalogue, and does not need them.
    subprocess.run(["samba_dnsupdate"], capture_output=True, timeout=SENT_WITHIN_S, check=False)


def wait(seed: Seed, lp: LoadParm) -> None:
    """Until our own DNS names us. OSError if it does not in time.

    The centre has made the records, of an RODC at least, and they are here when they have been copied from there: by
    itself Samba may do that five minutes from now.
    """
    database = SamDB(session_info=system_session(), lp=lp)
    deadline = time.monotonic() + NAMED_WITHIN_S
    while missing := _missing(seed):
        if time.monotonic() > deadline:
            raise OSError(f"DNS does not name this controller yet: {missing}")
        if seed.role != "new":
            _copy(database, lp)
        time.sleep(_LOOK_S)


def _missing(seed: Seed) -> str:
    """The first of our records that our own DNS does not have; empty if it has all."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.lifetime = _ANSWER_S
    host, address = f"{seed.host}.{seed.domain}".lower(), ip_interface(seed.address).ip
    wanted = [(host, "A" if address.version == 4 else "AAAA", str(address))]
    for service in ("ldap", "kerberos"):
        wanted.append((f"_{service}._tcp.{seed.site}._sites.{seed.domain}", "SRV", host))
    for name, kind, value in wanted:
        try:
            found = [_value(record) for record in resolver.resolve(name, kind)]
        except dns.exception.DNSException:
            found = []
        if value not in found:
            return f"{name} {kind}"
    return ""


def _value(record: Any) -> str:
    return str(record.target).rstrip(".").lower() if hasattr(record, "target") else str(record.address)


def _copy(database: SamDB, lp: LoadParm) -> None:
    """Have Samba copy the domain's DNS from its partners now. What fails shows in that we are not named."""
    wanted = drsuapi.DsReplicaSyncRequest1()
    wanted.naming_context = drsuapi.DsReplicaObjectIdentifier()
    wanted.naming_context.dn = f"DC=DomainDnsZones,{database.get_default_basedn()}"
    wanted.options = drsuapi.DRSUAPI_DRS_SYNC_ALL | drsuapi.DRSUAPI_DRS_ASYNC_OP
    try:
        drsuapi.drsuapi("irpc:dreplsrv", lp).DsReplicaSync(misc.policy_handle(), 1, wanted)
    except (ldb.LdbError, NTSTATUSError, WERRORError):
        return
