"""A domain goes on from its archive, on a controller of another name: of all that it had none is left.

`samba-tool domain backup restore` takes the others out of the domain, seizes their roles and makes a new krbtgt.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from ipaddress import ip_interface
from pathlib import Path

from vmhost.directory.guest import account, checker
from vmhost.directory.guest.joining import SAMBA, SMB_CONF, wipe
from vmhost.directory.guest.seed import Seed

_PLACE = SAMBA / "restored"
Say = Callable[[str, float], None]


def restore(seed: Seed, archive: Path, say: Say) -> None:
    """From the file `archive`. It can be begun again at any point. account.RefusedError if Samba cannot."""
    wipe()
    shutil.rmtree(_PLACE, ignore_errors=True)
    say("making the domain from its archive", 0.1)
    # Not all of samba-tool: that takes seconds to load, where the machine is emulated.
    from samba.netcmd.domain_backup import cmd_domain_backup_restore

    address = ip_interface(seed.address).ip
    said = io.StringIO()
    failed = cmd_domain_backup_restore(errf=said)._run(
        "samba-tool",
        *(f"--backup-file={archive}", f"--targetdir={_PLACE}", f"--newservername={seed.host}"),
        *(f"--site={seed.site}", f"--host-ip{'6' if address.version == 6 else ''}={address}"),
    )
    if failed:
        why = said.getvalue().strip().rpartition("\n")[2]
        raise account.RefusedError(f"Samba cannot make the domain from its archive: {why}")
    say("finishing", 0.9)
    _settle(seed)
    checker.make_here(seed.host, seed.health["password"])


def _settle(seed: Seed) -> None:
    """Move all of it to where Samba looks for it, and make its configuration anew."""
    for name, target in (("private", SAMBA / "private"), ("state", SAMBA)):
        target.mkdir(mode=0o700, exist_ok=True)
        for path in (_PLACE / name).iterdir():
            if path.name == "tls":  # of the machine that it was
                continue
            there = target / path.name
            if there.is_dir():
                shutil.rmtree(there)
            path.rename(there)
    SMB_CONF.parent.mkdir(parents=True, exist_ok=True)
    SMB_CONF.write_text(_configuration((_PLACE / "etc" / "smb.conf.orig").read_text(), seed))
    shutil.rmtree(_PLACE)


def _configuration(text: str, seed: Seed) -> str:
    """Samba's, of the machine that was, for this one. As text: LoadParm still has the paths of `_PLACE`."""
    own = {
        "netbios name": seed.host.upper(),
        "interfaces": f"lo {seed.address}",
        "bind interfaces only": "yes",
        "dns forwarder": " ".join(seed.resolvers),
    }
    lines = []
    for line in text.splitlines():
        if line.partition("=")[0].strip() not in own:
            lines.append(line)
        if line.strip() == "[global]":
            lines += [f"\t{name} = {value}" for name, value in own.items() if value]
    return "\n".join(lines) + "\n"
