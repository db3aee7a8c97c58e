"""What is checked."""

from __future__ import annotations

import msgspec


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
