"""How a machine is checked, as a person writes it into its recipe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from vmhost.health.private import SecretError, read_secret
from vmhost.health.target import Directory, Http, Target, Tcp, problems
from vmhost.values import Seconds

LEAST_EVERY_S, MOST_EVERY_S = 5, 3600
LEAST_WITHIN_S, MOST_WITHIN_S = 1, 60
_FIELDS = {
    "directory": {"realm", "host", "site", "account", "secret", "ca"},
    "tcp": {"port"},
    "http": {"port", "path"},
}


class Health(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which service a machine has, and where."""

    kind: Annotated[
        Literal["directory", "tcp", "http"], msgspec.Meta(description="What the service is that is checked.")
    ]
    address: Annotated[str, msgspec.Meta(description="The guest's address, IPv4 or IPv6.")]
    every: Annotated[
        Seconds, msgspec.Meta(description='How long after one round the next begins, like "30s".')
    ] = Seconds(30)
    within: Annotated[
        Seconds, msgspec.Meta(description='How long the answer to each question may take, like "5s".')
    ] = Seconds(5)
    realm: Annotated[str, msgspec.Meta(description='Of a directory, like "AD.EXAMPLE.COM".')] = ""
    host: Annotated[str, msgspec.Meta(description="Name that a directory must be known by.")] = ""
    site: Annotated[str, msgspec.Meta(description="Site that a directory must be found in.")] = ""
    account: Annotated[
        str, msgspec.Meta(description="Who logs on to a directory; without, less is checked.")
    ] = ""
    secret: Annotated[
        str, msgspec.Meta(description="File with the account's password, 0600; from the recipe's directory.")
    ] = ""
    ca: Annotated[
        str,
        msgspec.Meta(
            description="File with the authority that a directory's certificate is verified against."
        ),
    ] = ""
    port: Annotated[int | None, msgspec.Meta(description="Of a service by TCP or HTTP; HTTP has 80.")] = None
    path: Annotated[str, msgspec.Meta(description="What a web service is asked for.")] = "/"


def target_of(plan: Health) -> Target:
    """What is checked."""
    within = float(plan.within)
    if plan.kind == "directory":
        return Directory(
            address=plan.address,
            within=within,
            realm=plan.realm,
            host=plan.host,
            site=plan.site,
            account=plan.account,
            secret=plan.secret,
            ca=plan.ca,
        )
    if plan.kind == "tcp":
        return Tcp(address=plan.address, within=within, port=plan.port or 0)
    return Http(
        address=plan.address, within=within, port=80 if plan.port is None else plan.port, path=plan.path
    )


def plan_problems(plan: Health) -> Iterator[tuple[str, str, str]]:
    """Field, what is wrong with it, and what to do."""
    if not LEAST_EVERY_S <= plan.every <= MOST_EVERY_S:
        yield "every", "is out of range", f'use "{LEAST_EVERY_S}s" to "{MOST_EVERY_S}s"'
    if not LEAST_WITHIN_S <= plan.within <= MOST_WITHIN_S:
        yield "within", "is out of range", f'use "{LEAST_WITHIN_S}s" to "{MOST_WITHIN_S}s"'
    own = _FIELDS[plan.kind]
    for kind, fields in _FIELDS.items():
        for field in sorted(fields - own):
            if getattr(plan, field) not in ("", None, "/"):
                yield field, f"does not belong to {plan.kind}", f'leave it out, or write kind = "{kind}"'
    yield from problems(target_of(plan))


def from_directory(plan: Health, base: Path) -> Health:
    """With the files it names absolute, seen from `base`."""
    secret, ca = (os.path.abspath(base / name) if name else "" for name in (plan.secret, plan.ca))
    return msgspec.structs.replace(plan, secret=secret, ca=ca)


def missing(plan: Health) -> str:
    """What is wrong with the files it names; empty if nothing."""
    try:
        if plan.secret:
            read_secret(Path(plan.secret))
    except SecretError as error:
        return f"secret: {error}"
    if plan.ca and not os.access(plan.ca, os.R_OK):
        return f"ca: {plan.ca} cannot be read; write the authority's certificate there"
    return ""
