"""Samba's join of a domain controller, cut in two: what needs an administrator, and what the machine's account may do.

`samba.join` does all of it in one go with the administrator's credentials at the branch. Here the first half adds the
objects at the centre, and the second half copies the domain with the rights of the account that the first has made.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import samba.dsdb
from samba import drs_utils, gensec  # noqa: F401  (samba.join wants them loaded)
from samba.dcerpc import drsuapi, misc, security
from samba.join import DCJoinContext

DNS = "SAMBA_INTERNAL"


class Halves(DCJoinContext):  # type: ignore[misc]
    """Of a domain controller called `host` in `site`. `role` is rodc or dc."""

    def __init__(
        self, role: str, host: str, site: str, server: str, password: str, *, creds: Any, lp: Any
    ) -> None:
        super().__init__(
            logger=logging.getLogger("join"),
            server=server,
            creds=creds,
            lp=lp,
            site=site,
            netbios_name=host.upper(),
            machinepass=password,
            dns_backend=DNS,
        )
        lp.set("workgroup", self.domain_name)
        lp.set("realm", self.realm)
        if role == "rodc":
            self._as_rodc()
        else:
            self._as_dc()
        self.domain_replica_flags = self.replica_flags
        self.build_nc_lists()

    def _as_rodc(self) -> None:
        self.RODC = True
        self.secure_channel_type = misc.SEC_CHAN_RODC
        self.krbtgt_dn = f"CN=krbtgt_{self.myname},CN=Users,{self.base_dn}"
        self.connection_dn = f"CN=RODC Connection (FRS),{self.ntds_dn}"
        self.userAccountControl = (
            samba.dsdb.UF_WORKSTATION_TRUST_ACCOUNT
            | samba.dsdb.UF_TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION
            | samba.dsdb.UF_PARTIAL_SECRETS_ACCOUNT
        )
        self.SPNs += [f"RestrictedKrbHost/{self.myname}", f"RestrictedKrbHost/{self.dnshostname}"]
        self.replica_flags |= (
            drsuapi.DRSUAPI_DRS_SPECIAL_SECRET_PROCESSING | drsuapi.DRSUAPI_DRS_GET_ALL_GROUP_MEMBERSHIP
        )
        self.reveal([], [])

    def _as_dc(self) -> None:
        self.secure_channel_type = misc.SEC_CHAN_BDC
        self.userAccountControl = samba.dsdb.UF_SERVER_TRUST_ACCOUNT | samba.dsdb.UF_TRUSTED_FOR_DELEGATION
        self.SPNs.append(f"E3514235-4B06-11D1-AB04-00C04FC2DCD2/$NTDSGUID/{self.dnsdomain}")
        self.replica_flags |= drsuapi.DRSUAPI_DRS_WRIT_REP | drsuapi.DRSUAPI_DRS_FULL_SYNC_IN_PROGRESS

    def reveal(self, allowed: Iterable[str], denied: Iterable[str]) -> None:
        """The accounts and groups (DNs) whose passwords an RODC may keep, or never; beside the domain's lists."""
        self.reveal_sid = [f"<SID={self.domsid}-{security.DOMAIN_RID_RODC_ALLOW}>", *allowed]
        self.never_reveal_sid = [
            f"<SID={self.domsid}-{security.DOMAIN_RID_RODC_DENY}>",
            f"<SID={security.SID_BUILTIN_ADMINISTRATORS}>",
            f"<SID={security.SID_BUILTIN_SERVER_OPERATORS}>",
            f"<SID={security.SID_BUILTIN_BACKUP_OPERATORS}>",
            f"<SID={security.SID_BUILTIN_ACCOUNT_OPERATORS}>",
            *denied,
        ]

    def at_the_centre(self, address: str) -> dict[str, str]:
        """Add the objects and the DNS records of `address` (with prefix length). What the other half has to know."""
        # The records are made for the addresses of this "machine's" interfaces: those of the branch's.
        self.lp.set("interfaces", address)
        self.join_add_objects()
        self.join_add_dns_records()
        for (
            context
        ) in self.nc_list:  # the centre will tell the branch of changes; an RODC may not ask for that itself
            super().send_DsReplicaUpdateRefs(context)
        return {
            "ntds_guid": str(self.ntds_guid),
            "invocation_id": str(self.invocation_id),
            "krbtgt": str(getattr(self, "new_krbtgt_dn", "")),
        }

    def at_the_branch(self, known: dict[str, str]) -> None:
        """Copy the domain into this machine's empty databases, and make it a domain controller."""
        self.ntds_guid = misc.GUID(known["ntds_guid"])
        self.invocation_id = misc.GUID(known["invocation_id"])
        self.new_krbtgt_dn = known["krbtgt"]
        found = self.samdb.search(base=self.acct_dn, scope=0, attrs=["msDS-KeyVersionNumber"])
        self.key_version_number = int(str(found[0]["msDS-KeyVersionNumber"]))
        self.join_provision()
        self.join_replicate()
        self.join_finalise()

    def send_DsReplicaUpdateRefs(self, dn: str) -> None:  # noqa: N802
        """Done at the centre."""
