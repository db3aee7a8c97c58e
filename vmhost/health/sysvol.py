"""Whether clients find their group policies and logon scripts."""

from __future__ import annotations

from vmhost.health import tool
from vmhost.health.private import Private
from vmhost.health.result import Result
from vmhost.health.target import Directory


def listed(text: str) -> list[str]:
    """Names of what smbclient's `ls` has printed, without . and .. ."""
    names = []
    for line in text.splitlines():
        words = line.rsplit(None, 7)  # name, attributes, size, and five of the date
        if line.startswith("  ") and len(words) == 8 and words[2].isdigit():
            names.append(words[0].strip())
    return [name for name in names if name not in (".", "..")]


async def check(target: Directory, host: str, private: Private, *, ticket: bool) -> Result:
    """List the policies, with a Kerberos ticket, or without where the KDC gives none."""
    path = f"{target.realm.lower()}\\Policies"
    how = ("--use-kerberos=required",) if ticket else ("--use-kerberos=off", "-A", str(private.logon))
    said = await tool.run(
        *("smbclient", "-s", "/dev/null", "-I", target.address, f"//{host or target.address}/sysvol"),
        *("-N", *how, "-c", f'ls "{path}\\*"'),
        within=target.within,
        env=private.kerberos,
    )
    asked = f"list sysvol\\{path} {'with a ticket' if ticket else 'by NTLM, as there is no ticket'}"
    latency = said.seconds * 1000
    names = listed(said.out)
    if said.status == 0 and names:
        return Result(name="sysvol", ok=True, latency=latency, evidence=f"{asked}: {len(names)} policies")
    return Result(
        name="sysvol",
        ok=False,
        latency=latency,
        evidence=f"{asked}: {'it is empty' if said.status == 0 else said.complaint}",
        remedy="copy sysvol from the centre's controller, and see that it is kept so; port 445 must pass",
    )
