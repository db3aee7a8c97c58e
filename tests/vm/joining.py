"""What the tests of joins have in common: staging at the centre, and logging on at one controller and no other."""

import subprocess
import sys
from pathlib import Path

from tests.vm.centre import ADMINISTRATOR, DOMAIN, PASSWORD, REALM, Centre

ROOT = Path(__file__).parents[2]
SITE = "Branch-1"


def stage(
    centre: Centre,
    file: Path,
    host: str,
    *options: str,
    fails: bool = False,
    ticket: dict[str, str] | None = None,
) -> str:
    """`branchline vm stage directory` on the centre's controller: what it says. `ticket`: in that environment."""
    done = try_to_stage(centre, file, host, *options, ticket=ticket)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stderr if fails else done.stdout


def try_to_stage(
    centre: Centre, file: Path, host: str, *options: str, ticket: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """The same, however it ends."""
    secret = file.with_name(f"{file.name}.password")
    secret.write_text(PASSWORD)
    command = [
        *(sys.executable, "-m", "appliance.cli", "vm", "stage", "directory", str(file)),
        *("--realm", DOMAIN, "--server", centre.host, "--host", host),
        *(() if ticket else ("--user", ADMINISTRATOR, "--password-file", str(secret))),
    ]
    return subprocess.run(
        centre.inside(*command, *options), capture_output=True, text=True, cwd=ROOT, env=ticket
    )


def logs_on(kdc: str, user: str, password: str, scratch: Path, *within: str) -> bool:
    """Whether that controller gives a ticket. The command line `within` goes before, to ask from elsewhere."""
    alone = scratch / "alone.conf"
    alone.write_text(
        f"[libdefaults]\ndefault_realm = {REALM}\ndns_lookup_kdc = false\n[realms]\n"
        f"{REALM} = {{\nkdc = {kdc}\n}}\n"
    )
    command = [*within, "env", f"KRB5_CONFIG={alone}", "kinit", "-c", "MEMORY:", f"{user}@{REALM}"]
    return subprocess.run(command, input=f"{password}\n", capture_output=True, text=True).returncode == 0
