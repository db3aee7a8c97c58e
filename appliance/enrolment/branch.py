"""What joining makes of a box: its key, its configuration, and its centre as a peer. Whole steps, in an order that
lets the same command be given again after any of them."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from appliance import identity
from appliance.config import Config, ConfigError, from_dict, load, peers_d
from appliance.config.values import Endpoint
from appliance.config.written import plain, toml
from appliance.enrolment.joining import JoinError, join
from appliance.enrolment.messages import Answer, Request
from appliance.enrolment.token import Token
from vmhost import durable

KEY = "box.key"  # beside a configuration file that joining makes


@dataclass(frozen=True)
class Site:
    """The configuration file, and the interfaces for it if it has to be made."""

    config: Path
    lan: tuple[str, ...]
    wan: tuple[str, ...]


@dataclass(frozen=True)
class Enrolled:
    """What came of it."""

    box: str
    centre: str
    fingerprint: str
    peer_file: Path
    run_dir: Path


def enrolled(token: Token, site: Site) -> Enrolled:
    """Joins with `token` and writes what follows. ConfigError, IdentityError, JoinError, or OSError as it comes."""
    file = site.config
    before = load(file, files=False) if file.exists() else None
    if before is not None and before.box.id != token.branch:
        raise ConfigError(
            str(file),
            "box.id",
            f'is "{before.box.id}", and the token is for "{token.branch}"',
            "use its own token",
        )
    # Everything that can be found wrong is found before anybody is asked.
    base = _fresh(token, site, ["192.0.2.0/24"]) if before is None else plain(before)
    checked = from_dict(base, str(file))
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    own = _key(file.parent / checked.box.key)
    prefixes = [] if before is None else [str(prefix) for prefix in before.box.prefixes]
    answer, certificate = join(token, Request(token.branch, own.public, prefixes))
    if before is None:
        base = _fresh(token, site, answer.granted)
    config = _with_centre(file, base, token, answer, certificate)
    centre = config.peer(answer.box)
    assert centre is not None
    peer_file = file
    if before is None or before.peer(answer.box) is None:
        peer_file = peers_d.write(file, centre)
    if before is None:
        head = "# Written by `branchline enrol join`. Every field is explained in docs/CONFIG.md.\n\n"
        durable.replace(file, (head + toml({"box": base["box"]})).encode())
    mark = identity.fingerprint(own.certificate)
    return Enrolled(token.branch, answer.box, mark, peer_file, Path(config.box.run_dir))


def _fresh(token: Token, site: Site, prefixes: list[str]) -> dict[str, Any]:
    """The configuration of a box that has none."""
    if not site.lan or not site.wan:
        raise JoinError(
            f"{site.config} is not there yet; say with --lan and --wan which interfaces are which, to have it written"
        )
    box = {"id": token.branch, "lan": list(site.lan), "wan": list(site.wan), "prefixes": prefixes, "key": KEY}
    return {"box": box, "peers": []}


def _key(path: Path) -> identity.Identity:
    try:
        return identity.create(path)
    except FileExistsError:
        return identity.load_identity(path)


def paths(dial: Iterable[str]) -> list[dict[str, Any]]:
    """[[peers.paths]] to a centre that listens at these endpoints, one for each of its WANs.

    A WAN has one IPv4 and one IPv6 endpoint: the first of each belong together, and so on.
    """
    by_family = defaultdict[int, list[str]](list)
    for endpoint in map(Endpoint.parse, dial):
        by_family[endpoint.address.version].append(endpoint)
    wans = zip_longest(*by_family.values())
    return [
        {"name": f"wan{number}" if number > 1 else "wan", "dial": [end for end in wan if end]}
        for number, wan in enumerate(wans, 1)
    ]


def _with_centre(
    file: Path, base: dict[str, Any], token: Token, answer: Answer, certificate: bytes
) -> Config:
    """The configuration as it is going to be; ConfigError if the centre does not fit into it."""
    key = base64.b64encode(certificate).decode()
    known = [peer for peer in base["peers"] if peer["id"] == answer.box]
    if known and known[0]["key"] == key:
        return from_dict(base, str(file))  # joined before: perhaps the centre had not heard of it
    centre = {
        "id": answer.box,
        "key": key,
        "prefixes": answer.prefixes,
        "paths": paths(token.dial),
    }
    return from_dict({**base, "peers": [*base["peers"], centre]}, str(file))
