"""What the machine is told at its first start: `seed.json` on a small disk that goes when it has been used."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

FORMAT = 1


def checker(host: str) -> str:
    """The account that the health of that controller is checked by: of the 20 characters that Windows allows, 19."""
    return f"chk-{host}"


@dataclass(frozen=True, kw_only=True)
class Seed:
    """Addresses are texts; `address` has its prefix length."""

    role: str
    """`rodc`, `dc`, or `new` for the first controller of a new domain."""
    realm: str
    host: str
    """Without its domain."""
    site: str
    address: str
    gateway: str = ""
    resolvers: tuple[str, ...] = ()
    """Of names outside the domain; and, until it has joined, of all names."""
    time: tuple[str, ...] = ()
    """NTP servers."""
    tls: dict[str, str] = field(default_factory=dict)
    """PEM texts for the files of Samba: key, cert, ca."""
    centre: tuple[str, ...] = ()
    """Names of the domain's writable controllers, the one that knows our account first."""
    prefetch: tuple[str, ...] = ()
    """GUIDs of users and groups whose passwords are kept here."""
    archive: str = ""
    """File beside the seed with the domain that is to be gone on with (`samba-tool domain backup`); for `new`."""
    halves: dict[str, str] = field(default_factory=dict)
    """What the centre's half of the join has found out."""
    health: dict[str, str] = field(default_factory=dict, repr=False)
    """For `new`: `account` and `password` that the box checks its health by; else the centre has made it."""
    password: str = field(default="", repr=False)
    """Of our account until we have joined; for `new`, of the domain's administrator."""

    @property
    def domain(self) -> str:
        """The realm as a DNS name."""
        return self.realm.lower()


def read(file: Path) -> Seed:
    """OSError or ValueError if it cannot be used."""
    return parse(json.loads(file.read_text(encoding="utf-8")))


def parse(tree: dict[str, Any]) -> Seed:
    """ValueError if it is of another format."""
    if tree.get("format") != FORMAT:
        raise ValueError(f"format {tree.get('format')} is not known here, only {FORMAT}")
    known = {one.name for one in fields(Seed)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in tree.items()
        if name in known
    }
    return Seed(**values)
