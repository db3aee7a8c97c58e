"""The machine's name, network, time servers and resolvers, from the seed. Files are written whole or not at all."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from ipaddress import ip_interface
from pathlib import Path

from vmhost.directory.guest.seed import Seed

TLS = "/var/lib/samba/private/tls"


def files(seed: Seed, *, joined: bool) -> Mapping[str, str]:
    """Path and text of each. Before it has `joined`, names are resolved by others."""
    address = ip_interface(seed.address).ip
    full = f"{seed.host}.{seed.domain}"
    resolvers = (*(("127.0.0.1",) if joined else ()), *seed.resolvers)
    gateway = f"Gateway={seed.gateway}\n" if seed.gateway else ""
    # Where a lock on the clock cannot be had for long, Kerberos fails: step it at start, offer it to the clients.
    sources = "".join(f"server {server} iburst\n" for server in seed.time)
    return {
        "/etc/hostname": f"{seed.host}\n",
        "/etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{address} {full} {seed.host}\n",
        "/etc/resolv.conf": f"search {seed.domain}\n"
        + "".join(f"nameserver {one}\n" for one in resolvers[:3]),
        "/etc/krb5.conf": (
            f"[libdefaults]\ndefault_realm = {seed.realm}\n"
            "dns_lookup_realm = false\ndns_lookup_kdc = true\nrdns = false\n"
        ),
        "/etc/systemd/network/10-lan.network": (
            f"[Match]\nType=ether\n[Network]\nAddress={seed.address}\n{gateway}LinkLocalAddressing=no\n"
        ),
        "/etc/chrony/sources.d/branchline.sources": sources,
        **{f"{TLS}/{name}.pem": text for name, text in seed.tls.items()},
    }


def write(path: str, text: str) -> None:
    """Replace a file, or what it links to, durably; 0600 if it is a key."""
    real = Path(os.path.realpath(path))
    real.parent.mkdir(parents=True, exist_ok=True)
    new = real.with_name(real.name + ".new")
    mode = 0o600 if real.name in ("key.pem", "password") else 0o644
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(real)


def furnish(seed: Seed, *, joined: bool) -> None:
    """Write all of them, and take the name."""
    for path, text in files(seed, joined=joined).items():
        write(path, text)
    socket.sethostname(seed.host)
