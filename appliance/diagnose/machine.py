"""What the machine below the box is and does: versions, kernel state, load. Nothing here needs the daemons."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Final

from appliance.diagnose.box import MissingError
from appliance.diagnose.processes import daemons, figures
from appliance.version import version

PATIENCE_S: Final = 10.0

# Debian's packages that the box stands on.
_PACKAGES: Final = (
    "linux-image-*",
    "nftables",
    "iproute2",
    "libnftables1",
    "libssl3*",
    "openssl",
    "python3",
    "libvirt*",
)

_COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "nft-ruleset.txt": ("nft", "list", "ruleset"),
    "addresses.txt": ("ip", "-d", "address"),
    "links.txt": ("ip", "-s", "link"),
    "routes4.txt": ("ip", "-4", "route", "show", "table", "all"),
    "routes6.txt": ("ip", "-6", "route", "show", "table", "all"),
    "rules4.txt": ("ip", "-4", "rule"),
    "rules6.txt": ("ip", "-6", "rule"),
    "neighbours.txt": ("ip", "neighbour"),
    "queues.txt": ("tc", "-s", "qdisc"),
    "classes.txt": ("tc", "-s", "class"),
    "connections.txt": ("ss", "-tinO"),
    "sockets.txt": ("ss", "-s"),
    "conntrack.txt": ("conntrack", "-S"),
    "modules.txt": ("lsmod",),
    "debian.txt": ("dpkg-query", "-W", *_PACKAGES),
    "units.txt": ("systemctl", "--no-pager", "status", "branchline*"),
    "journal.txt": ("journalctl", "--no-pager", "-n", "5000", "-u", "branchline*"),
}
_FILES: Final[dict[str, tuple[str, ...]]] = {
    "kernel.txt": ("/proc/version", "/etc/os-release", "/proc/uptime"),
    "load.txt": (
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/pressure/cpu",
        "/proc/pressure/memory",
        "/proc/pressure/io",
        "/proc/stat",
    ),
    "counters.txt": (
        "/proc/self/net/snmp",
        "/proc/self/net/netstat",
        "/proc/self/net/softnet_stat",
        "/proc/self/net/sockstat",
        "/proc/self/net/sockstat6",
    ),
}
# By name, because some of their neighbours are secrets (tcp_fastopen_key, stable_secret).
_SYSCTLS: Final = (
    "net.core.default_qdisc",
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_max",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.ip_forward",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_available_congestion_control",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_early_demux",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_mtu_probing",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_wmem",
    "net.ipv6.conf.all.forwarding",
    "net.netfilter.nf_conntrack_acct",
    "net.netfilter.nf_conntrack_count",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
    "net.netfilter.nf_conntrack_tcp_loose",
    "net.netfilter.nf_conntrack_timestamp",
    "vm.overcommit_memory",
    "vm.swappiness",
)


def parts() -> dict[str, Callable[[], str]]:
    """What to read, by the name of the part. Each may raise MissingError."""
    files = {name: partial(_read, paths) for name, paths in _FILES.items()}
    commands = {name: partial(_said, command) for name, command in _COMMANDS.items()}
    return {
        "versions.txt": _versions,
        **files,
        "sysctls.txt": _sysctls,
        "processes.txt": _processes,
        **commands,
    }


def _versions() -> str:
    packages = sorted({f"{found.name} {found.version}" for found in metadata.distributions()}, key=str.lower)
    return "\n".join(
        (f"branchline {version()}", f"Python {platform.python_version()}", platform.platform(), *packages)
    )


def _sysctls() -> str:
    lines = []
    for name in _SYSCTLS:
        try:
            value = Path("/proc/sys", *name.split(".")).read_text().strip()
        except OSError as error:
            value = f"({error.strerror})"
        lines.append(f"{name} = {value}\n")
    return "".join(lines)


def _processes() -> str:
    found = daemons()
    missing = [name for name in ("supervisor", "control", "data") if name not in found]
    told = [f"==== {name}, process {pid}\n{figures(pid)}\n" for name, pid in found.items()]
    return "".join((*told, *(f"==== {name} does not run\n" for name in missing)))


def _read(paths: Sequence[str]) -> str:
    found = []
    for path in paths:
        try:
            found.append(f"== {path}\n{Path(path).read_text(errors='replace').rstrip()}\n")
        except OSError as error:
            found.append(f"== {path}\n({error.strerror})\n")
    return "".join(found)


def _said(command: Sequence[str]) -> str:
    program = shutil.which(command[0], path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        raise MissingError(f"{command[0]} is not installed")
    try:
        done = subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        raise MissingError(f"{' '.join(command)}: not within {PATIENCE_S:.0f} s") from None
    if done.returncode and not done.stdout:
        raise MissingError(f"{' '.join(command)}: {done.stderr.strip() or f'status {done.returncode}'}")
    return done.stdout + (f"\n== errors\n{done.stderr}" if done.stderr else "")
