"""Whether a directory's DNS names it: what dig has printed is read, and judged."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vmhost.health import tool
from vmhost.health.result import Result
from vmhost.health.target import Directory

_STATUS = "status: "


@dataclass
class Answer:
    """To one question. data: of the records, without name and class, by type."""

    status: str
    data: dict[str, list[str]] = field(default_factory=dict)


def parse(text: str) -> list[Answer]:
    """The answers that `dig +noall +comments +answer` has printed, in order."""
    answers: list[Answer] = []
    for line in text.splitlines():
        if line.startswith(";; ->>HEADER<<-") and _STATUS in line:
            answers.append(Answer(line.split(_STATUS, 1)[1].split(",", 1)[0]))
        words = line.split(None, 4)
        if answers and len(words) == 5 and not line.startswith(";") and words[2] == "IN":
            answers[-1].data.setdefault(words[3], []).append(words[4].rstrip(".").lower())
    return answers


def questions(realm: str, site: str, host: str, address: str) -> list[tuple[str, str]]:
    """Names and types: services of the realm and of the site, the address of the controller."""
    domain = realm.lower()
    asked = [(f"_ldap._tcp.{domain}", "SRV"), (f"_kerberos._tcp.{domain}", "SRV")]
    if site:
        asked += [(f"_{service}._tcp.{site}._sites.{domain}", "SRV") for service in ("ldap", "kerberos")]
    if host:
        asked.append((host, "AAAA" if ipaddress.ip_address(address).version == 6 else "A"))
    return asked


def faults(
    asked: Sequence[tuple[str, str]], answers: Sequence[Answer], host: str, address: str
) -> Mapping[str, str]:
    """What is wrong, by the name asked. In its site a controller must be named; in the realm another may be."""
    wrong = {}
    for at, (name, kind) in enumerate(asked):
        if at >= len(answers):
            wrong[name] = "no answer"
            continue
        found = answers[at].data.get(kind, [])
        if not found:
            wrong[name] = f"{answers[at].status}, no {kind}"
        elif kind == "SRV":
            targets = [record.split()[-1] for record in found]
            if "._sites." in name and host and host.lower() not in targets:
                wrong[name] = f"names {', '.join(targets[:4])} and not {host}"
        elif ipaddress.ip_address(address) not in _addresses(found):
            wrong[name] = f"is {', '.join(found[:4])} and not {address}"
    return wrong


def _addresses(texts: Sequence[str]) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    found = set()
    for text in texts:
        try:
            found.add(ipaddress.ip_address(text))
        except ValueError:
            continue  # a server may send anything
    return found


async def check(target: Directory, host: str, site: str) -> Result:
    """Ask its DNS for the records that clients find it by."""
    asked = questions(target.realm, site, host, target.address)
    words = [word for question in asked for word in question]
    # Each question has its share, so that dig itself says which was not answered.
    each = max(1, int(target.within / len(asked)))
    said = await tool.run(
        *("dig", f"@{target.address}", "+noall", "+comments", "+answer", f"+time={each}", "+tries=1", *words),
        within=target.within,
    )
    answers = parse(said.out)
    latency = said.seconds * 1000
    names = ", ".join(f"{name} {kind}" for name, kind in asked)
    if not answers:
        return Result(
            name="dns",
            ok=False,
            latency=latency,
            evidence=f"asked for {names}: {said.complaint.lstrip('; ')}",
            remedy=f"see whether the DNS server runs on {target.address} and port 53 may pass",
        )
    wrong = faults(asked, answers, host, target.address)
    if wrong:
        listed = "; ".join(f"{name}: {fault}" for name, fault in wrong.items())
        remedy = "`samba_dnsupdate --all-names` on the controller registers its records (Windows: nltest /dsregdns)"
        return Result(name="dns", ok=False, latency=latency, evidence=listed, remedy=remedy)
    return Result(name="dns", ok=True, latency=latency, evidence=f"{names}: as they should be")
