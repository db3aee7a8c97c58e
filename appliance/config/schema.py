"""The one configuration: every field with its unit, default, range and a sentence.

The file, the command line, the control socket and docs/CONFIG.md all come from these classes. A configuration is
immutable; a change is a new one (see `difference`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from appliance.config.units import Duration, Rate, Size
from appliance.config.values import Endpoint, Host, Interface, Name, Ports, Prefix, PublicKey
from appliance.marking import Mark
from vmhost.directory.signing import BundleKey


def _is(
    sentence: str, *, unit: str = "", at_least: float | None = None, at_most: float | None = None
) -> msgspec.Meta:
    extra: dict[str, Any] = {"unit": unit, "at_least": at_least, "at_most": at_most}
    return msgspec.Meta(description=sentence, extra=extra)


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all sections have in common: immutable, and a misspelt field is an error."""


class Box(_Section, frozen=True):
    """This appliance and its site."""

    id: Annotated[Name, _is("Unique name of this box among all boxes; its peers use it in their [[peers]].")]
    lan: Annotated[
        tuple[Interface, ...],
        _is("Interfaces towards the site's own hosts; flows that arrive here may be optimised."),
    ]
    wan: Annotated[tuple[Interface, ...], _is("Interfaces towards the WAN.")]
    prefixes: Annotated[
        tuple[Prefix, ...],
        _is(
            "The site's own prefixes. Peers list the same ones for this box. Where prefixes of two sites overlap, "
            "the longer one decides."
        ),
    ]
    key: Annotated[
        str,
        _is(
            "File with the box's private key and certificate, made by `branchline key new`, mode 0600. "
            "A relative path starts at the directory of this file."
        ),
    ] = "/etc/branchline/box.key"
    listen: Annotated[
        tuple[Endpoint, ...],
        _is("Addresses and ports at which peers' lanes are accepted; empty if this box only dials."),
    ] = ()
    wan_rates: Annotated[
        tuple[Rate, ...],
        _is(
            "What the line behind each interface of `wan` carries, in the same order; held to 95 % of it, and shared "
            "evenly by the peers that want more than there is. Empty: no line is narrower than its paths together."
        ),
    ] = ()
    heartbeat: Annotated[
        Duration,
        _is(
            "Time between probes of the path in use. Three that are not answered make it down; a peer whose host "
            "answers and whose data plane says nothing for ten is passed by.",
            unit="seconds",
            at_least=0.05,
            at_most=5,
        ),
    ] = Duration(0.1)
    processes: Annotated[
        int,
        _is(
            "Data processes over which the peers are spread, each with a codec thread and its part of the limits; "
            "the death of one is felt by its peers alone. More than 1 is for a box with many busy peers and cores to "
            "spare, two for each process.",
            unit="number",
            at_least=1,
            at_most=16,
        ),
    ] = 1
    state_dir: Annotated[
        str, _is("Directory for what outlives a restart: event log, bypass state, chunk caches.")
    ] = "/var/lib/branchline"
    run_dir: Annotated[str, _is("Directory for sockets; holds nothing worth keeping.")] = "/run/branchline"


class Path(_Section, frozen=True):
    """One WAN underlay to a peer. The box that dials needs one; the other may say what it knows of the peer's."""

    name: Annotated[
        Name, _is("Name of the path, unique for the peer; both boxes call it what the dialling box does.")
    ] = Name("wan")
    dial: Annotated[
        tuple[Endpoint, ...],
        _is("Where the peer listens on this path, tried in turn; empty if the peer dials this box."),
    ] = ()
    interface: Annotated[
        Interface | None,
        _is("Interface of `box.wan` that the path's lanes leave by; without it the routes decide."),
    ] = None
    source: Annotated[
        Host | None, _is("Address of this box that the path's lanes come from; without it the routes decide.")
    ] = None
    underlay: Annotated[
        Literal["private", "tunnel"],
        _is(
            "`private`: flows that are not optimised may cross the WAN as they are. `tunnel`: plain traffic to "
            "the peer's prefixes is refused on the path's `interface`, or on all of `box.wan` without one."
        ),
    ] = "private"
    cost: Annotated[
        int,
        _is(
            "The path with the lowest cost carries the flows while it is up; of equal ones the one in use stays.",
            unit="number",
            at_least=0,
            at_most=65535,
        ),
    ] = 10
    rate: Annotated[
        Rate,
        _is(
            "What the link carries towards the peer; held to 95 % of it, the urgent first. 0: not known.",
            unit="bytes/s",
            at_least=0,
            at_most=12_500_000_000,
        ),
    ] = Rate(0)
    metered: Annotated[
        bool, _is("`true`: bytes cost money, so the path is rarely probed while it stands by.")
    ] = False


class Peer(_Section, frozen=True):
    """Another Branchline, at another site."""

    id: Annotated[Name, _is("The peer's own `box.id`.")]
    key: Annotated[
        PublicKey,
        _is("The peer's public identity: the line that `branchline key show` prints on that box."),
    ]
    prefixes: Annotated[
        tuple[Prefix, ...], _is("Prefixes behind the peer. Flows to them are optimised with its help.")
    ]
    paths: Annotated[
        tuple[Path, ...],
        _is(
            "The WAN underlays to the peer, one [[peers.paths]] each. May be empty where the peer dials this box."
        ),
    ] = ()
    on_failure: Annotated[
        Literal["open", "closed"],
        _is(
            "What a new TCP flow meets that cannot be optimised now. `open`: it passes through. `closed`: it is "
            "refused, and so every destination is optimised from its first flow on. Rules may differ."
        ),
    ] = "open"
    source: Annotated[
        Literal["client", "box"],
        _is(
            "Source address of connections that this box opens for clients behind the peer. `client`: the "
            "client's own, which needs this box on the servers' way back. `box`: this box's address."
        ),
    ] = "client"
    cache: Annotated[
        Size,
        _is(
            "Chunk cache for each direction of this peer's traffic. In `state_dir` it takes twice this and an "
            "eighth more, at once.",
            unit="bytes",
            at_least=2**20,
            at_most=2**39,
        ),
    ] = Size(512 * 2**20)
    optimise: Annotated[bool, _is("`false`: flows to this peer pass through; lanes stay open.")] = True

    @property
    def dials(self) -> bool:
        """Whether this box opens the lanes."""
        return any(path.dial for path in self.paths)

    @property
    def tunnel(self) -> bool:
        """Whether plain traffic to the peer is refused."""
        return any(path.underlay == "tunnel" for path in self.paths)

    def path(self, name: str) -> Path | None:
        """The path called `name`, if the file has it."""
        return next((path for path in self.paths if path.name == name), None)


class Rule(_Section, frozen=True):
    """What happens to new flows. The first rule that matches wins, on the box nearest the client.

    After the last rule, flows to a destination that is known to answer are optimised, for every peer.
    """

    name: Annotated[Name, _is("Unique name of the rule, for `branchline bypass`, events and reasons.")]
    peers: Annotated[tuple[Name, ...], _is("Peers that the rule is about; empty: all.")] = ()
    ports: Annotated[
        tuple[Ports, ...], _is('Destination TCP ports, "80" or "8000-8099"; empty: all.', unit="TCP port")
    ] = ()
    prefixes: Annotated[
        tuple[Prefix, ...], _is("Part of the peers' prefixes that the rule is about; empty: all of them.")
    ] = ()
    action: Annotated[
        Literal["optimise", "pass"], _is("`optimise` the flow, or let it `pass` through untouched.")
    ] = "optimise"
    eager: Annotated[
        bool,
        _is(
            "`true`: optimise from a destination's first flow on (needs `ports`; the first try of a closed port "
            "is told so by a reset). `false`: only once the destination has been seen to answer."
        ),
    ] = False
    on_failure: Annotated[
        Literal["", "open", "closed"], _is("Overrides the peers' `on_failure`; empty: theirs.")
    ] = ""
    store: Annotated[
        bool, _is("`false`: the flows' bytes never enter a chunk cache; they are compressed only.")
    ] = True
    dscp: Annotated[
        Literal["", Mark],
        _is(
            "Mark of the flows' packets on the LANs, at both ends, in the place of the client's own. Where the line is "
            "short, a flow that is marked CS4 to CS7, EF or AF4x has eight times the share of one that is not, and one "
            "that is marked CS1 or LE an eighth. Empty: the client's mark is kept, and counts."
        ),
    ] = ""
    domain: Annotated[
        int,
        _is("Number of the cache domain. Domains never share bytes.", unit="number", at_least=0, at_most=127),
    ] = 0


class Limits(_Section, frozen=True):
    """What the box may use at most. New flows beyond a limit pass through, with that reason; open ones go on."""

    flows: Annotated[
        int,
        _is(
            "Flows optimised at the same time. The last tenth is kept for peers that have less than an even share.",
            unit="flows",
            at_least=1,
            at_most=1_000_000,
        ),
    ] = 20_000
    memory: Annotated[
        Size,
        _is(
            "Buffers of all flows and lanes together; their compression windows may take half of it besides.",
            unit="bytes",
            at_least=16 * 2**20,
            at_most=2**40,
        ),
    ] = Size(512 * 2**20)
    flow_buffer: Annotated[
        Size,
        _is(
            "Bytes on their way in one direction of a flow: its credit, and what a slow reader may hold.",
            unit="bytes",
            at_least=2**16,
            at_most=2**30,
        ),
    ] = Size(16 * 2**20)
    open_timeout: Annotated[
        Duration,
        _is(
            "How long the far side may take to connect to the server.",
            unit="seconds",
            at_least=0.5,
            at_most=300,
        ),
    ] = Duration(10)
    stream_hold: Annotated[
        Duration,
        _is("How long flows are held while no path is up.", unit="seconds", at_least=0, at_most=3600),
    ] = Duration(120)
    drain: Annotated[
        Duration,
        _is(
            "How long an orderly stop waits for the open flows to end; new ones pass meanwhile.",
            unit="seconds",
            at_least=0,
            at_most=86_400,
        ),
    ] = Duration(10)
    handshakes: Annotated[
        int,
        _is(
            "Incoming lanes whose peer has not proved its identity yet.",
            unit="lanes",
            at_least=1,
            at_most=10_000,
        ),
    ] = 64
    event_log: Annotated[
        Size,
        _is(
            "The event log on disk; the oldest events go first.",
            unit="bytes",
            at_least=2**16,
            at_most=2**34,
        ),
    ] = Size(16 * 2**20)


class Cache(_Section, frozen=True):
    """The chunk caches of all peers together; how large each is stands at its peer."""

    index: Annotated[
        Size,
        _is(
            "Memory for the indexes of all caches. Active peers share it, idle ones give it back. 0: 4.4 MB for each "
            "GB of log that the caches may hold, at least 64 MiB, at most a quarter of the machine's memory.",
            unit="bytes",
            at_least=0,
            at_most=2**40,
        ),
    ] = Size(0)
    disk: Annotated[
        Size,
        _is(
            "Disk for all caches in `state_dir`: those of all peers and domains must fit. Those that nothing in "
            "this file asks for are kept while there is room; then they are deleted, the longest unused first.",
            unit="bytes",
            at_least=2**22,
            at_most=2**50,
        ),
    ] = Size(256 * 2**30)


class Vm(_Section, frozen=True):
    """Virtual machines on this box; without this section it has none. docs/VMHOST.md has the rest."""

    libvirt: Annotated[
        str,
        _is(
            "libvirt's address of the daemon that runs the machines. Disks are in `box.state_dir`, under `vm`."
        ),
    ] = "qemu:///system"
    trusted_keys: Annotated[
        tuple[BundleKey, ...],
        _is(
            "Public keys of the build hosts whose systems this box runs: what `branchline vm build key` prints there."
        ),
    ] = ()


class Config(_Section, frozen=True):
    """A whole configuration file."""

    box: Annotated[Box, _is("This appliance and its site.")]
    peers: Annotated[tuple[Peer, ...], _is("The other boxes, one [[peers]] each.")] = ()
    rules: Annotated[tuple[Rule, ...], _is("Policy for new flows, one [[rules]] each, in order.")] = ()
    cache: Annotated[Cache, _is("What the chunk caches of all peers may use together.")] = Cache()
    limits: Annotated[Limits, _is("What the box may use at most.")] = Limits()
    vm: Annotated[Vm | None, _is("Virtual machines on this box.")] = None

    def peer(self, peer_id: str) -> Peer | None:
        """The peer called `peer_id`, if there is one."""
        return next((peer for peer in self.peers if peer.id == peer_id), None)

    def rule(self, name: str) -> Rule | None:
        """The rule called `name`, if there is one."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def domains(self, peer_id: str) -> frozenset[int]:
        """The cache domains of a peer: 0, and those that rules name for it."""
        return frozenset(
            {0, *(rule.domain for rule in self.rules if not rule.peers or peer_id in rule.peers)}
        )
