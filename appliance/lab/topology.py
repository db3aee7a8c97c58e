"""The lab's network as text: the `ip` commands and sysctls of each namespace. Pure.

    client ── branch ══ wan ══ dc ── server
    10.1/16   10.9.1/24   10.9.2/24   10.2/16
    fd01::/48 fd09:1::/64 fd09:2::/64 fd02::/48

With a second WAN there is also branch ══ wan2 ══ dc, with 10.8 and fd08 in the place of 10.9 and fd09; what is
routed still takes the first.

Link addresses are fixed and neighbours permanent: IPv6 then works at once, where neighbour discovery would
lose the first second of every lab (a fresh veth joins its multicast groups only then).
"""

from collections.abc import Collection
from dataclasses import dataclass

HOSTS = ("client", "branch", "wan", "dc", "server")
WANS = ("wan", "wan2")
ROUTERS = ("branch", *WANS, "dc")
PRIMARY = {
    "client": ("10.1.0.2", "fd01::2"),
    "branch": ("10.1.0.1", "fd01::1"),
    "wan": ("10.9.1.254", "fd09:1::fe"),
    "wan2": ("10.8.1.254", "fd08:1::fe"),
    "dc": ("10.2.0.1", "fd02::1"),
    "server": ("10.2.0.2", "fd02::2"),
}
WAN_ADDRESS = {"branch": ("10.9.1.1", "fd09:1::1"), "dc": ("10.9.2.1", "fd09:2::1")}
WAN2_ADDRESS = {"branch": ("10.8.1.1", "fd08:1::1"), "dc": ("10.8.2.1", "fd08:2::1")}
PREFIXES = {"branch": ("10.1.0.0/16", "fd01::/48"), "dc": ("10.2.0.0/16", "fd02::/48")}
TOWARDS_BRANCH = "branch"  # the WAN host's interface names
TOWARDS_DC = "dc"


@dataclass(frozen=True)
class End:
    """One end of a link: host, interface, link address, IPv4 and IPv6 address with prefix length."""

    host: str
    interface: str
    link: str
    v4: str
    v6: str


@dataclass(frozen=True)
class Link:
    maker: End  # the link is made in this end's namespace
    other: End


LINKS = (
    Link(
        End("branch", "lan0", "02:00:00:00:01:01", "10.1.0.1/16", "fd01::1/48"),
        End("client", "eth0", "02:00:00:00:01:02", "10.1.0.2/16", "fd01::2/48"),
    ),
    Link(
        End("branch", "wan0", "02:00:00:00:91:01", "10.9.1.1/24", "fd09:1::1/64"),
        End("wan", TOWARDS_BRANCH, "02:00:00:00:91:fe", "10.9.1.254/24", "fd09:1::fe/64"),
    ),
    Link(
        End("dc", "wan0", "02:00:00:00:92:01", "10.9.2.1/24", "fd09:2::1/64"),
        End("wan", TOWARDS_DC, "02:00:00:00:92:fe", "10.9.2.254/24", "fd09:2::fe/64"),
    ),
    Link(
        End("dc", "lan0", "02:00:00:00:02:01", "10.2.0.1/16", "fd02::1/48"),
        End("server", "eth0", "02:00:00:00:02:02", "10.2.0.2/16", "fd02::2/48"),
    ),
    Link(
        End("branch", "wan1", "02:00:00:00:81:01", "10.8.1.1/24", "fd08:1::1/64"),
        End("wan2", TOWARDS_BRANCH, "02:00:00:00:81:fe", "10.8.1.254/24", "fd08:1::fe/64"),
    ),
    Link(
        End("dc", "wan1", "02:00:00:00:82:01", "10.8.2.1/24", "fd08:2::1/64"),
        End("wan2", TOWARDS_DC, "02:00:00:00:82:fe", "10.8.2.254/24", "fd08:2::fe/64"),
    ),
)
ROUTES = {
    "client": ("default via 10.1.0.1", "default via fd01::1"),
    "branch": ("default via 10.9.1.254", "default via fd09:1::fe"),
    "wan": (
        "10.1.0.0/16 via 10.9.1.1",
        "fd01::/48 via fd09:1::1",
        "10.2.0.0/16 via 10.9.2.1",
        "fd02::/48 via fd09:2::1",
    ),
    "dc": ("default via 10.9.2.254", "default via fd09:2::fe"),
    "server": ("default via 10.2.0.1", "default via fd02::1"),
    "wan2": (
        "10.1.0.0/16 via 10.8.1.1",
        "fd01::/48 via fd08:1::1",
        "10.2.0.0/16 via 10.8.2.1",
        "fd02::/48 via fd08:2::1",
    ),
}
WAN2_ROUTES = {
    "branch": ("10.8.2.0/24 via 10.8.1.254", "fd08:2::/64 via fd08:1::fe"),
    "dc": ("10.8.1.0/24 via 10.8.2.254", "fd08:1::/64 via fd08:2::fe"),
}


def sysctls(host: str) -> dict[str, object]:
    """What every namespace is set to before it has links."""
    values: dict[str, object] = {
        "net.ipv6.conf.all.accept_dad": 0,
        "net.ipv6.conf.default.accept_dad": 0,
        "net.ipv6.conf.default.accept_ra": 0,
        "net.ipv4.conf.all.rp_filter": 0,
        "net.ipv4.conf.default.rp_filter": 0,
        # Tests open tens of thousands of connections a minute; TIME_WAIT must not eat the ports.
        "net.ipv4.ip_local_port_range": "10240 65535",
        "net.ipv4.tcp_max_tw_buckets": 64,
        "net.ipv4.tcp_max_syn_backlog": 4096,
        # Otherwise the second transfer starts with what the first learnt about the path.
        "net.ipv4.tcp_no_metrics_save": 1,
    }
    if host in ROUTERS:
        values["net.ipv4.ip_forward"] = 1
        values["net.ipv6.conf.all.forwarding"] = 1
    return values


def links_made_in(host: str, netns: dict[str, str]) -> list[str]:
    """`ip` commands that make this host's links. netns: host → namespace name."""
    return [
        f"link add {link.maker.interface} address {link.maker.link} type veth "
        f"peer name {link.other.interface} address {link.other.link} netns {netns[link.other.host]}"
        for link in LINKS
        if link.maker.host == host and link.other.host in netns
    ]


def addresses_of(host: str, hosts: Collection[str]) -> list[str]:
    """`ip` commands for this host's addresses, neighbours and routes, once its links to the other hosts exist."""
    lines = ["link set lo up"]
    for link in LINKS:
        for mine, theirs in ((link.maker, link.other), (link.other, link.maker)):
            if mine.host != host or theirs.host not in hosts:
                continue
            dev = f"dev {mine.interface}"
            lines += [
                f"address add {mine.v4} {dev}",
                f"address add {mine.v6} {dev} nodad",
                f"link set {dev} up",
                f"neighbour add {theirs.v4.partition('/')[0]} lladdr {theirs.link} {dev} nud permanent",
                f"neighbour add {theirs.v6.partition('/')[0]} lladdr {theirs.link} {dev} nud permanent",
            ]
    routes = ROUTES[host] + (WAN2_ROUTES.get(host, ()) if "wan2" in hosts else ())
    lines += [f"route add {route}" for route in routes]
    return lines


def segmentation(interfaces: Collection[str], per_packet: bool) -> list[str]:
    """`ip` commands that let interfaces of a WAN pass 64 KiB aggregates, or forbid it.

    With one segment at most the kernel cuts aggregates before they leave, so that the link, its drops and
    its counters see packets as on a wire.
    """
    segments = 1 if per_packet else 65535
    return [f"link set dev {name} gso_max_segs {segments}" for name in interfaces]
