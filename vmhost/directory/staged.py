"""The stage file: what the centre has prepared for one branch's controller, its one-time password among it."""

from __future__ import annotations

import json
import re
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from vmhost import durable

_HOST = re.compile(r"[a-z](?:[a-z0-9-]{0,13}[a-z0-9])?", re.ASCII)
_SITE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)
_REALM = re.compile(
    r"(?:[A-Z0-9](?:[A-Z0-9-]{0,61}[A-Z0-9])?\.)+[A-Z0-9](?:[A-Z0-9-]{0,61}[A-Z0-9])?", re.ASCII
)
_SERVER = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}", re.ASCII)


def host(text: str) -> str:
    """ValueError unless a controller may be called so."""
    if not _HOST.fullmatch(text):
        raise ValueError(
            f"{text!r} cannot be a controller's name; use 1 to 15 of a-z, 0-9 and hyphens, a letter first"
        )
    return text


def site(text: str) -> str:
    """ValueError unless a site may be called so."""
    if not _SITE.fullmatch(text):
        raise ValueError(f"{text!r} cannot be a site's name; use 1 to 63 letters, digits and hyphens")
    return text


def realm(text: str) -> str:
    """In capitals; ValueError unless a domain may be called so."""
    if not _REALM.fullmatch(text.upper()):
        raise ValueError(f'{text!r} cannot be a realm; write it like "ad.example.com"')
    return text.upper()


def address(text: str) -> str:
    """ValueError unless it is one host's address with the length of its prefix."""
    found = ip_interface(text)
    if (
        "/" not in text
        or "%" in text
        or (found.ip == found.network.network_address and found.network.num_addresses > 2)
    ):
        raise ValueError(f'{text!r} is not an address with its prefix length; write it like "10.1.0.10/24"')
    return str(found)


def gateway(text: str, address: str) -> str:
    """ValueError unless a host with that `address` can reach it; empty for none."""
    if text and (ip_address(text) not in ip_interface(address).network or "%" in text):
        raise ValueError(f"{text} is not in the network of {address}; write the router's address there")
    return text


def resolver(text: str) -> str:
    """ValueError unless it is a host's address."""
    found = ip_address(text)
    if "%" in text:
        raise ValueError(f"{text!r} is an address of one link only; write another of that server")
    return str(found)


def server(text: str) -> str:
    """ValueError unless it is a host's name or address."""
    if not _SERVER.fullmatch(text):
        raise ValueError(f'{text!r} is neither a name nor an address; write it like "ntp.example.com"')
    return text


def subnet(text: str) -> str:
    """ValueError unless it is a network."""
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise ValueError(f'{error}; write it like "10.1.0.0/24"') from None


def write(file: Path, stage: dict[str, Any], *, again: bool) -> None:
    """Make the file, for its owner's eyes only. OSError; FileExistsError unless an older one may be replaced."""
    if file.exists() and not again:
        raise FileExistsError(17, "is there already", str(file))
    durable.replace(file, f"{json.dumps(stage, indent=1)}\n".encode(), mode=0o600)
