"""The centre's half of a branch's domain controller: a program of the system's Python, with python3-samba.

It reads one request as JSON from standard input, and writes one answer: what goes into a stage file, or `error`.
`branchline vm stage directory` runs it where an administrator is.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

import ldb
from samba import NTSTATUSError, WERRORError, gensec, remove_dc, sites, subnets
from samba.auth import system_session
from samba.credentials import MUST_USE_KERBEROS, SPECIFIED, Credentials
from samba.dcerpc import nbt
from samba.dsdb import UF_ACCOUNTDISABLE, UF_PARTIAL_SECRETS_ACCOUNT, UF_SERVER_TRUST_ACCOUNT
from samba.net import Net
from samba.netcmd import CommandError
from samba.param import LoadParm
from samba.samdb import SamDB

from vmhost.directory.guest import checker
from vmhost.directory.guest.checker import MARK
from vmhost.directory.guest.halves import Halves
from vmhost.directory.guest.seed import FORMAT
from vmhost.directory.guest.seed import checker as named

_CENTRES = 3  # as many resolvers as a resolv.conf has
_IN_CHAIN = "1.2.840.113556.1.4.1941"
_CONTROLLER = UF_SERVER_TRUST_ACCOUNT | UF_PARTIAL_SECRETS_ACCOUNT  # one of them in userAccountControl


class StageError(Exception):
    """What is wrong, and what to do."""


class Centre:
    """The domain, seen with an administrator's rights."""

    def __init__(self, realm: str, server: str, user: str, password: str) -> None:
        self.lp = LoadParm()
        self.lp.set("realm", realm)
        self.creds = Credentials()
        if user:
            self.creds.guess(self.lp)
            self.creds.parse_string(user)
            if not self.creds.get_realm():
                self.creds.set_realm(realm)
            self.creds.set_password(password)
        else:
            # What is guessed is the name of who runs this, whatever the ticket says.
            self.creds.set_named_ccache(_ticket(), SPECIFIED, self.lp)
            self.creds.set_kerberos_state(MUST_USE_KERBEROS)
        self.creds.set_gensec_features(
            self.creds.get_gensec_features() | gensec.FEATURE_SEAL
        )  # for passwords
        self.server = server or self._find(realm)
        try:
            self.database = SamDB(
                url=f"ldap://{self.server}", session_info=system_session(), credentials=self.creds, lp=self.lp
            )
        except ldb.LdbError as error:
            raise StageError(_refusal(self.server, str(error.args[1]), user)) from None
        self.config = self.database.get_config_basedn()
        if (found := str(self.database.domain_dns_name())).lower() != realm.lower():
            raise StageError(
                f"{self.server} is a controller of {found}, not of {realm}; see --realm and --server"
            )

    def _find(self, realm: str) -> str:
        writable = nbt.NBT_SERVER_LDAP | nbt.NBT_SERVER_DS | nbt.NBT_SERVER_WRITABLE
        try:
            return str(Net(creds=self.creds, lp=self.lp).finddc(domain=realm, flags=writable).pdc_dns_name)
        except NTSTATUSError:
            raise StageError(f"no controller of {realm} is found by DNS; name one by --server") from None

    def account(self, host: str) -> Any:
        """Of the machine, or None."""
        found = self.database.search(
            expression=f"(sAMAccountName={ldb.binary_encode(host.upper())}$)",
            attrs=["adminDescription", "userAccountControl", "logonCount"],
        )
        return found[0] if found else None

    def revealed(self, host: str) -> list[str]:
        """Whose passwords have been given to that RODC: account names."""
        account = self.account(host)
        if account is None:
            return []
        given_to = f"(msDS-RevealedDSAs={ldb.binary_encode(str(account.dn))})"
        # Its own krbtgt goes with it, and so does the account of its health.
        own = f"(sAMAccountName=krbtgt_*)(sAMAccountName={ldb.binary_encode(named(host))})"
        chosen = f"(&{given_to}(!(|{own})))"
        # In pages: an answer has a thousand entries at most.
        given = self.database.search(
            expression=chosen, attrs=["sAMAccountName"], controls=["paged_results:1:500"]
        )
        return sorted(str(one["sAMAccountName"]) for one in given if one.dn != account.dn)

    def check_ours(self, account: Any, host: str) -> None:
        """StageError unless this program has made it, or was cut off when it made it."""
        flags = int(str(account["userAccountControl"]))
        logons = int(str(account.get("logonCount", idx=0) or 0))
        half = flags & UF_ACCOUNTDISABLE and flags & _CONTROLLER and not logons
        if not half and str(account.get("adminDescription", idx=0)) != MARK:
            raise StageError(
                f"the account {host} was not made by Branchline and is left alone; choose another --host"
            )

    def remove(self, host: str) -> None:
        """Take all that there is of that controller out of the domain. StageError if it is not ours."""
        account = self.account(host)
        if account is not None:
            self.check_ours(account, host)
        checker.remove(self.database, host)
        try:
            remove_dc.remove_dc(self.database, logging.getLogger("remove"), host.upper())
        except remove_dc.DemoteException:
            if account is None:
                raise StageError(f"there is no controller {host} in the domain; see --host") from None
            self.database.delete(account.dn, ["tree_delete:0"])

    def site(self, name: str, networks: Iterable[str]) -> None:
        """Make sure that there is one, that the others replicate with it, and that the networks are its."""
        with contextlib.suppress(sites.SiteAlreadyExistsException):
            sites.create_site(self.database, self.config, name)
        place = f"CN={name},CN=Sites,{self.config}"
        links = self.database.search(
            base=f"CN=Sites,{self.config}", expression="(objectClass=siteLink)", attrs=["siteList"]
        )
        if links and not any(
            place.lower() in str(one).lower() for link in links for one in link.get("siteList", [])
        ):
            change = ldb.Message(links[0].dn)
            change["siteList"] = ldb.MessageElement(place, ldb.FLAG_MOD_ADD, "siteList")
            self.database.modify(change)
        for network in networks:
            try:
                subnets.create_subnet(self.database, self.config, network, name)
            except subnets.SubnetAlreadyExists:
                subnets.set_subnet_site(self.database, self.config, network, name)
            except subnets.SubnetException as error:
                raise StageError(f"--subnet {network}: {error}") from None

    def named(self, names: Iterable[str], option: str) -> list[Any]:
        """The users, computers and groups called so, in whatever way. StageError if one is not there."""
        found = []
        for name in names:
            safe = ldb.binary_encode(name)
            chosen = f"(&(|(objectClass=user)(objectClass=group))(|(sAMAccountName={safe})(distinguishedName={safe})))"
            entries = self.database.search(expression=chosen, attrs=["objectGUID", "objectClass"])
            if not entries:
                raise StageError(f"{option} {name}: there is no such user or group in the domain")
            found += entries
        return found

    def check_allowed(self, wanted: Iterable[Any], denied: Iterable[str]) -> None:
        """StageError if the password of one of `wanted` may never leave the centre."""
        for entry in wanted:
            for group in denied:
                (refused,) = self.database.search(base=group, scope=ldb.SCOPE_BASE, attrs=[])
                chosen = f"(memberOf:{_IN_CHAIN}:={ldb.binary_encode(str(refused.dn))})"
                within = self.database.search(
                    base=entry.dn, scope=ldb.SCOPE_BASE, expression=chosen, attrs=[]
                )
                if within or entry.dn == refused.dn:
                    raise StageError(
                        f"--prefetch {entry.dn}: its password may not be kept at a branch, for it is in {refused.dn}"
                    )

    def controllers(self) -> dict[str, list[str]]:
        """Name and addresses of the writable ones, ours first. StageError if there are none."""
        chosen = "(&(objectClass=nTDSDSA)(!(objectClass=nTDSDSARO)))"
        names = [self.server]
        for one in self.database.search(base=self.config, expression=chosen, attrs=[]):
            (server,) = self.database.search(
                base=one.dn.parent(), scope=ldb.SCOPE_BASE, attrs=["dNSHostName"]
            )
            if (name := str(server.get("dNSHostName", idx=0)).lower()) not in names:
                names.append(name)
        found = {name: _addresses(name) for name in names}
        known = [name for name in names if found[name]]
        if not known:
            raise StageError(f"this machine's DNS has no address of {', '.join(names)}; set its resolver")
        return {name: found[name] for name in known[:_CENTRES]}


def stage(asked: dict[str, Any]) -> dict[str, Any]:
    """Make the account and all that belongs to it; what the machine has to know."""
    centre = Centre(asked["realm"], asked["server"], asked["user"], asked["password"])
    role, host = asked["role"], asked["host"]
    prefetch = centre.named(asked["prefetch"], "--prefetch")
    allowed = [str(entry.dn) for entry in (*centre.named(asked["allow"], "--allow"), *prefetch)]
    denied = [str(entry.dn) for entry in centre.named(asked["deny"], "--deny")]
    account = centre.account(host)
    if account is not None:
        if not asked["again"]:
            used = int(str(account.get("logonCount", idx=0) or 0))
            how = "a machine has used it" if used else "it has not been used"
            raise StageError(
                f"there is an account {host} already, and {how}; `--again` makes it anew, and a machine that uses it "
                "has to be made anew as well"
            )
        centre.check_ours(account, host)
    earlier = checker.find(centre.database, host)
    if earlier is not None and str(earlier.get("adminDescription", idx=0)) != MARK:
        raise StageError(
            f"the account {named(host)} was not made by Branchline and is left alone; choose another --host"
        )
    if earlier is not None and not asked["again"]:
        raise StageError(
            f"there is an account {named(host)} already: {host} is being staged by somebody else now, or that was cut "
            "off; then `--again` goes on"
        )
    controllers = centre.controllers()
    password, health = (f"{secrets.token_urlsafe(48)}.aA1" for _ in range(2))
    half = Halves(role, host, asked["site"], centre.server, password, creds=centre.creds, lp=centre.lp)
    if role == "rodc":
        half.reveal(dict.fromkeys([*allowed, checker.where(centre.database, host)]), dict.fromkeys(denied))
        centre.check_allowed(prefetch, half.never_reveal_sid)
    centre.site(asked["site"], asked["subnets"])
    if account is not None:
        centre.remove(host)  # a controller that may serve: nothing that could be refused comes after
    if earlier is not None:
        checker.remove(centre.database, host)
    # One entry, made at once: of two that stage the same host at the same time, one fails here, with nothing made yet.
    checker.make(centre.database, host, health)
    try:
        if role == "rodc":
            prefetch.append(checker.find(centre.database, host))
        halves = half.at_the_centre(asked["address"])
        _mark(centre.database, half.acct_dn)
    except BaseException:
        half.cleanup_old_join(force=True)
        checker.remove(centre.database, host)
        raise
    resolvers = [addresses[0] for addresses in controllers.values()]
    return {
        "format": FORMAT,
        "role": role,
        "realm": str(half.realm).upper(),
        "host": host,
        "site": asked["site"],
        "address": asked["address"],
        "gateway": asked["gateway"],
        "resolvers": resolvers,
        "time": asked["time"] or resolvers,
        "centre": list(controllers),
        "prefetch": [
            str(centre.database.schema_format_value("objectGUID", entry["objectGUID"][0]).decode())
            for entry in prefetch
        ],
        "halves": {**halves, "workgroup": str(half.domain_name)},
        "password": password,
        "health": {"account": named(host), "password": health},
        "staged": int(time.time()),
    }


def _ticket() -> str:
    """Where it is kept. StageError if there is none: Samba would die of it."""
    kept = os.environ.get("KRB5CCNAME") or f"/tmp/krb5cc_{os.getuid()}"
    kept = kept if ":" in kept else f"FILE:{kept}"
    tool = shutil.which("klist")
    if tool is None or subprocess.run([tool, "-s", "-c", kept], check=False).returncode != 0:
        raise StageError(
            f"there is no ticket in {kept} that is good still; without --user, `kinit` as an administrator first"
        )
    return kept


def _mark(database: Any, account: str) -> None:
    change = ldb.Message(ldb.Dn(database, account))
    change["adminDescription"] = ldb.MessageElement(MARK, ldb.FLAG_MOD_REPLACE, "adminDescription")
    database.modify(change)


def remove(asked: dict[str, Any]) -> dict[str, Any]:
    """Take the controller out of the domain; whose passwords it has."""
    centre = Centre(asked["realm"], asked["server"], asked["user"], asked["password"])
    revealed = centre.revealed(asked["host"])
    centre.remove(asked["host"])
    return {"removed": asked["host"], "revealed": revealed}


def _addresses(name: str) -> list[str]:
    try:
        found = socket.getaddrinfo(name, 389, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(one[4][0]) for one in sorted(found, key=lambda one: one[0] != socket.AF_INET)]


def _refusal(server: str, said: str, user: str) -> str:
    if "LOGON_FAILURE" in said or "INVALID_CREDENTIALS" in said or "PREAUTH" in said:
        who = (
            f"the password of {user} is wrong, or there is no such user" if user else "the ticket is not good"
        )
        return f"{server} refuses: {who}; nothing has been changed"
    if not user:
        return f"{server} cannot be asked: {said}; without --user, `kinit` as an administrator first"
    return f"{server} cannot be asked: {said}"


def main() -> int:
    """0 if done, 1 if not, and then nothing is half made."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Samba says on standard output what it is doing
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    asked = json.load(sys.stdin)
    try:
        answer = {"stage": stage, "remove": remove}[asked["do"]](asked)
    except StageError as error:
        answer = {"error": str(error)}
    except (ldb.LdbError, WERRORError, NTSTATUSError, RuntimeError, CommandError, OSError) as error:
        reason = error.args[1] if len(error.args) > 1 else error
        rights = (
            "; has this user the rights of a domain administrator?" if "ACCESS" in str(reason).upper() else ""
        )
        answer = {"error": f"the domain refuses: {reason}{rights}"}
    json.dump(answer, answers)
    answers.close()
    return int("error" in answer)


if __name__ == "__main__":
    sys.exit(main())
