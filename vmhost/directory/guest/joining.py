"""The join itself, from empty databases to a controller that can be started. It can be begun again at any point."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import ldb
from samba import NTSTATUSError
from samba.param import LoadParm

from vmhost.directory.guest import account, checker
from vmhost.directory.guest.halves import Halves
from vmhost.directory.guest.seed import Seed

SAMBA = Path("/var/lib/samba")
SMB_CONF = Path("/etc/samba/smb.conf")
MOST_OFFSET_S = 240.0  # Kerberos refuses more than 300

Say = Callable[[str, float], None]
"""What it is at, and the fraction of the join that is done."""


def wipe() -> None:
    """Remove what an attempt has left; the TLS key is made before."""
    SMB_CONF.unlink(missing_ok=True)
    for path in (*SAMBA.glob("*.tdb"), *SAMBA.glob("private/*"), SAMBA / "sysvol", SAMBA / "bind-dns"):
        if path.name == "tls":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def join(seed: Seed, kept: Path, say: Say) -> None:
    """As a controller of the domain that is there. The password of our account goes into the file `kept`.

    account.RefusedError if the centre will never have us; ldb.LdbError, WERRORError, NTSTATUSError or OSError
    for what may be better the next time.
    """
    lp = settings(seed)
    server, creds = _answering(seed, lp, kept, say)
    _check_clock(server, lp, creds)
    wipe()
    half = _Told(seed, server, kept.read_text(), creds, lp, say)
    half.at_the_branch(seed.halves)


def _answering(seed: Seed, lp: Any, kept: Path, say: Say) -> tuple[str, Any]:
    """The first controller that knows us, and our credentials."""
    dead = ""
    for server in seed.centre:
        say(f"{dead}asking {server}", 0.02)
        try:
            return server, account.own(server, lp, seed.host, seed.password, kept)
        except account.RefusedError as error:
            if not dead:
                raise
            # The first has made our account, and may not have told the others yet.
            dead += f"{server} refuses us: {error}; "
        except (ldb.LdbError, NTSTATUSError) as error:
            dead += f"{server} does not answer ({error.args[1]}); "
    raise OSError(dead.removesuffix("; "))


def settings(seed: Seed) -> Any:
    """Samba's, without a file; the file is made of them."""
    lp = LoadParm()
    lp.set("netbios name", seed.host.upper())
    lp.set("workgroup", seed.halves["workgroup"])
    lp.set("realm", seed.realm)
    lp.set("interfaces", f"lo {seed.address}")
    lp.set("bind interfaces only", "yes")
    lp.set("dns forwarder", " ".join(seed.resolvers))
    return lp


class _Told(Halves):
    """Says how far it is."""

    def __init__(self, seed: Seed, server: str, password: str, creds: Any, lp: Any, say: Say) -> None:
        super().__init__(seed.role, seed.host, seed.site, server, password, creds=creds, lp=lp)
        self._say = say

    def join_provision(self) -> None:
        self._say("making empty databases", 0.05)
        super().join_provision()

    def join_replicate(self) -> None:
        self._say("copying the domain", 0.25)
        super().join_replicate()

    def create_replicator(self, repl_creds: Any, binding_options: Any) -> Any:
        copying = super().create_replicator(repl_creds, binding_options)
        plain, parts = copying.replicate, [0]

        def told(name: Any, *arguments: Any, **options: Any) -> Any:
            parts[0] += 1
            self._say(f"copying {name}", min(0.25 + 0.08 * parts[0], 0.85))
            return plain(name, *arguments, **options)

        copying.replicate = told
        return copying

    def join_finalise(self) -> None:
        self._say("finishing", 0.9)
        super().join_finalise()


def new(seed: Seed, say: Say) -> None:
    """Make a domain, of which this is the first controller. account.RefusedError if that fails."""
    wipe()
    say("making the domain", 0.1)
    address = ip_interface(seed.address).ip
    options = {
        "realm": seed.realm,
        "domain": seed.halves["workgroup"],
        "host-name": seed.host,
        "host-ip6" if address.version == 6 else "host-ip": str(address),
        "site": seed.site,
        "server-role": "dc",
        "dns-backend": "SAMBA_INTERNAL",
        "adminpass": seed.password,
    }
    settings = {
        "interfaces": f"lo {seed.address}",
        "bind interfaces only": "yes",
        "dns forwarder": " ".join(seed.resolvers),
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    arguments += [f"--option={name}={value}" for name, value in settings.items() if value]
    from samba.netcmd.main import cmd_sambatool  # all of samba-tool: seconds, where the machine is emulated

    # Not as a process of its own: its arguments, and so the password, would be seen by all.
    if cmd_sambatool()._run("samba-tool", "domain", "provision", *arguments):
        raise account.RefusedError("Samba cannot make the domain; why is in the journal of the machine")
    checker.make_here(seed.host, seed.health["password"])


def _check_clock(server: str, lp: Any, creds: Any) -> None:
    """OSError if it is so wrong that Kerberos would not work."""
    (root,) = account.connect(server, lp, creds).search(base="", scope=ldb.SCOPE_BASE, attrs=["currentTime"])
    offset = ldb.string_to_time(str(root["currentTime"])) - time.time()
    if abs(offset) > MOST_OFFSET_S:
        raise OSError(f"the clock here is {offset:.0f} s from that of {server}; set the box's clock by NTP")
