"""What is checked."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

import msgspec

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)
_PATH = re.compile(r"/[!-~]{0,1000}", re.ASCII)


class _Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """address: IPv4 or IPv6, where it is asked. within: seconds for each question."""

    address: str
    within: float = 5.0


class Directory(_Target, frozen=True, tag="directory"):
    """A domain controller of `realm`. host and site: the ones it must be known by; its own word counts without."""

    realm: str
    host: str = ""
    site: str = ""
    account: str = ""
    """Who logs on; without, only what needs no account is checked."""
    secret: str = ""
    """File with the password of the account, 0600."""
    ca: str = ""
    """File with the authority that its certificate is verified against; without, it is not verified."""
    replication_within: float = 3 * 3600.0
    """How old the last replication may be, seconds. 3 h is what Active Directory leaves between two sites."""


class Tcp(_Target, frozen=True, tag="tcp"):
    """A service that takes connections."""

    port: int


class Http(_Target, frozen=True, tag="http"):
    """A web service that answers a GET with a status below 400."""

    port: int = 80
    path: str = "/"


Target = Directory | Tcp | Http


def is_name(text: str) -> bool:
    """Whether the tools take it for a name: not for an option, nor for two words."""
    return _NAME.fullmatch(text) is not None


def problems(target: Target) -> Iterator[tuple[str, str, str]]:
    """Field, what is wrong with it, and what to do. The tools would misread odd names."""
    try:
        ipaddress.ip_address(target.address)
    except ValueError:
        yield "address", f"{target.address!r} is not an address", 'write it like "10.1.0.2" or "fd00:1::2"'
    if isinstance(target, Directory):
        for field in ("realm", "host", "site", "account"):
            value = getattr(target, field)
            if (value or field == "realm") and not is_name(value):
                yield field, f"{value!r} is not a name", "use a-z, 0-9, dots, hyphens and underscores"
        if bool(target.account) != bool(target.secret):
            yield "secret", "goes with an account", "write both, or neither"
        return
    if not 1 <= target.port <= 65535:
        yield "port", f"{target.port} is out of range", "use 1 to 65535"
    if isinstance(target, Http) and not _PATH.fullmatch(target.path):
        yield "path", f"{target.path!r} is not a path", 'write it like "/status"'
