"""Rules between the fields of a configuration: what each field alone cannot know.

`problems` is pure: it opens no file and asks no kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import msgspec

from appliance.config.schema import Box, Cache, Config, Limits, Path, Peer, Rule
from appliance.config.units import show_rate, show_size
from appliance.config.values import Network, Prefix

IMPLICIT_RULE = "known"
"""Name of the rule that follows all others."""

MOST_PREFIXES = 1000
"""So many a box may announce of its site, and so many inside them that are elsewhere."""

LEAST_RATE, MOST_RATE = 8_000, 12_500_000_000  # bytes/s of a line
_LONGEST_SOCKET_PATH = 107  # sockaddr_un, less its final zero
_LONGEST_SOCKET_NAME = "notify-control.sock"


class Problem(NamedTuple):
    """One thing that is wrong: path of the field, what it is, what to do."""

    key: str
    problem: str
    remedy: str


def problems(config: Config) -> Iterator[Problem]:
    """Everything that is wrong with `config`, the simplest first; nothing if it can be used."""
    yield from _ranges(config)
    yield from _box(config.box)
    if config.limits.flow_buffer > config.limits.memory:
        yield Problem(
            "limits.flow_buffer", "one flow may hold more than limits.memory allows all", "use a part of that"
        )
    yield from _peers(config)
    yield from _prefixes(config)
    yield from _rules(config)
    yield from _caches(config)


def _ranges(config: Config) -> Iterator[Problem]:
    sections: list[tuple[str, Box | Peer | Path | Rule | Cache | Limits]] = [
        ("box", config.box),
        ("cache", config.cache),
        ("limits", config.limits),
    ]
    for at, peer in enumerate(config.peers):
        sections.append((f"peers[{at}]", peer))
        sections += [(f"peers[{at}].paths[{number}]", path) for number, path in enumerate(peer.paths)]
    sections += [(f"rules[{at}]", rule) for at, rule in enumerate(config.rules)]
    for where, section in sections:
        for name, extra in field_facts(type(section)).items():
            value, low, high = getattr(section, name), extra["at_least"], extra["at_most"]
            if low is not None and not low <= value <= high:
                show = {"bytes": show_size, "bytes/s": show_rate}.get(extra["unit"])
                if show is not None:
                    allowed = f"{show(low)} to {show(high)}"
                else:
                    allowed = f"{low:.10g} to {high:.10g} {extra['unit'].removesuffix('number')}".rstrip()
                yield Problem(f"{where}.{name}", f"{value} is out of range", f"use {allowed}")


def field_facts(section: type[Any]) -> dict[str, dict[str, Any]]:
    """For each field of a section: `unit`, `at_least`, `at_most` and its `description`."""
    info = msgspec.inspect.type_info(section)
    assert isinstance(info, msgspec.inspect.StructType)
    facts: dict[str, dict[str, Any]] = {}
    for field in info.fields:
        assert isinstance(field.type, msgspec.inspect.Metadata), (
            f"{section.__name__}.{field.name} says nothing of itself"
        )
        facts[field.name] = {**(field.type.extra or {}), **(field.type.extra_json_schema or {})}
    return facts


def _box(box: Box) -> Iterator[Problem]:
    for name, interfaces in (("lan", box.lan), ("wan", box.wan)):
        if not interfaces:
            yield Problem(f"box.{name}", "is empty", "name at least one interface; `ip link` lists them")
        for at, interface in enumerate(interfaces):
            if interface in interfaces[:at]:
                yield Problem(f"box.{name}[{at}]", f'"{interface}" is there twice', "leave one of them out")
    for at, interface in enumerate(box.wan):
        if interface in box.lan:
            yield Problem(
                f"box.wan[{at}]", f'"{interface}" is also in box.lan', "an interface is on one side only"
            )
    if box.wan_rates and len(box.wan_rates) != len(box.wan):
        yield Problem(
            "box.wan_rates",
            f"has {len(box.wan_rates)} rates for {len(box.wan)} interfaces",
            "write one for each interface of box.wan, in the same order",
        )
    for at, rate in enumerate(box.wan_rates):
        if not LEAST_RATE <= rate <= MOST_RATE:
            allowed = f"use {show_rate(LEAST_RATE)} to {show_rate(MOST_RATE)}"
            yield Problem(f"box.wan_rates[{at}]", f"{rate} is out of range", allowed)
    yield from _listen(box)
    for name, path in (("key", box.key), ("state_dir", box.state_dir), ("run_dir", box.run_dir)):
        if "\0" in path:
            yield Problem(f"box.{name}", "has a zero byte in it", "write the path without it")
    for name, directory in (("state_dir", box.state_dir), ("run_dir", box.run_dir)):
        if not PurePosixPath(directory).is_absolute():
            yield Problem(f"box.{name}", f'"{directory}" is not an absolute path', "begin it with /")
    excess = len(f"{box.run_dir}/{_LONGEST_SOCKET_NAME}".encode()) - _LONGEST_SOCKET_PATH
    if excess > 0:
        most = len(box.run_dir.encode()) - excess
        yield Problem("box.run_dir", "is too long for the sockets in it", f"use at most {most} bytes")


def _listen(box: Box) -> Iterator[Problem]:
    for at, endpoint in enumerate(box.listen):
        for other in box.listen[:at]:
            same = (endpoint.address.version, endpoint.port) == (other.address.version, other.port)
            if endpoint == other:
                yield Problem(f"box.listen[{at}]", f'"{endpoint}" is there twice', "leave one of them out")
            elif same and (endpoint.address.is_unspecified or other.address.is_unspecified):
                yield Problem(
                    f"box.listen[{at}]",
                    f'"{endpoint}" and "{other}" overlap: one of them is every address',
                    "leave one of them out",
                )


def _peers(config: Config) -> Iterator[Problem]:
    for at, peer in enumerate(config.peers):
        where, earlier = f"peers[{at}]", config.peers[:at]
        if peer.id == config.box.id:
            yield Problem(f"{where}.id", f'"{peer.id}" is this box itself', "name the other box")
        for other in earlier:
            if other.id == peer.id:
                yield Problem(f"{where}.id", f'there are two peers "{peer.id}"', "give each its own box.id")
            if other.key == peer.key:
                yield Problem(
                    f"{where}.key", f'is also the key of peer "{other.id}"', "every box has a key of its own"
                )
        if not peer.dials and not config.box.listen:
            yield Problem(
                f"{where}.paths",
                f'nobody can open a lane: this box does not dial "{peer.id}" and has no box.listen',
                'write where the peer listens, like paths = [{ dial = ["10.9.0.2:4001"] }], or let this box listen',
            )
        yield from _paths(f"{where}.paths", peer, config.box)
        if peer.on_failure == "closed" and not peer.optimise:
            yield Problem(
                f"{where}.optimise",
                'every flow would be refused: false passes them on, and on_failure = "closed" refuses what passes',
                'choose one: optimise = true or on_failure = "open"',
            )


def _paths(where: str, peer: Peer, box: Box) -> Iterator[Problem]:
    for at, path in enumerate(peer.paths):
        here, earlier = f"{where}[{at}]", peer.paths[:at]
        if any(other.name == path.name for other in earlier):
            yield Problem(f"{here}.name", f'there are two paths "{path.name}"', "give each its own name")
        if peer.dials and not path.dial:
            yield Problem(
                f"{here}.dial",
                "is empty, but another path dials: one box dials on all paths, the other on none",
                "write where the peer listens on this path, or leave the path out",
            )
        if path.rate and path.interface is None and len(box.wan) > 1:
            yield Problem(
                f"{here}.rate",
                "is not known to be of which interface",
                "name the `interface` of box.wan by which the path leaves",
            )
        for number, endpoint in enumerate(path.dial):
            if endpoint.address.is_unspecified or endpoint.address.is_multicast:
                yield Problem(
                    f"{here}.dial[{number}]",
                    f'"{endpoint}" is no box\'s address',
                    "write where the peer listens",
                )
            if endpoint in path.dial[:number]:
                yield Problem(f"{here}.dial[{number}]", f'"{endpoint}" is there twice', "leave one out")
            if path.source and ("." in path.source) != (endpoint.address.version == 4):
                yield Problem(
                    f"{here}.source",
                    f'"{path.source}" cannot reach "{endpoint}"',
                    "use IPv4 or IPv6 on one path, not both",
                )
        if path.interface and path.interface not in box.wan:
            yield Problem(
                f"{here}.interface",
                f'"{path.interface}" is not in box.wan',
                f"use one of {', '.join(box.wan)}, or add it there",
            )


def _prefixes(config: Config) -> Iterator[Problem]:
    owned: list[tuple[str, str, Prefix]] = [
        (f"box.prefixes[{at}]", "this box", prefix) for at, prefix in enumerate(config.box.prefixes)
    ]
    for at, peer in enumerate(config.peers):
        if not peer.prefixes:
            yield Problem(f"peers[{at}].prefixes", "is empty", "list the prefixes of the peer's site")
        owned += [
            (f"peers[{at}].prefixes[{number}]", f'peer "{peer.id}"', prefix)
            for number, prefix in enumerate(peer.prefixes)
        ]
    own = [prefix.network for prefix in config.box.prefixes]
    elsewhere = [
        prefix
        for _, _, prefix in owned[len(own) :]
        if any(inside(prefix.network, network) for network in own)
    ]
    if max(len(own), len(elsewhere)) > MOST_PREFIXES:
        yield Problem(
            "box.prefixes",
            f"{len(own)} prefixes, and {len(elsewhere)} of peers inside them, are more than can be announced",
            f"join neighbours into wider ones; {MOST_PREFIXES} of either are allowed",
        )
    # One inside another is fine, the longest prefix decides: a data centre may be the way to "10.0.0.0/8".
    for at, (key, owner, prefix) in enumerate(owned):
        for _, other_owner, other in owned[:at]:
            if prefix == other and owner != other_owner:
                yield Problem(
                    key, f'"{prefix}" belongs to {other_owner} and to {owner}', "leave it at one of them"
                )


def _rules(config: Config) -> Iterator[Problem]:
    for at, rule in enumerate(config.rules):
        where = f"rules[{at}]"
        if rule.name == IMPLICIT_RULE:
            yield Problem(
                f"{where}.name",
                f'"{IMPLICIT_RULE}" is the rule that follows all others',
                "choose another name",
            )
        if any(other.name == rule.name for other in config.rules[:at]):
            yield Problem(f"{where}.name", f'there are two rules "{rule.name}"', "give each its own name")
        unknown = [(number, name) for number, name in enumerate(rule.peers) if config.peer(name) is None]
        for number, name in unknown:
            known = ", ".join(peer.id for peer in config.peers) or "none"
            yield Problem(
                f"{where}.peers[{number}]",
                f'there is no peer "{name}"',
                f"the peers of this file are: {known}",
            )
        if not unknown:
            yield from _rule_prefixes(where, rule, config)
        if rule.eager and not rule.ports:
            yield Problem(
                f"{where}.eager",
                "an eager rule without ports would answer for every closed port",
                'list the ports that servers use, like ports = ["80", "445"], or leave eager out',
            )
        if rule.dscp and rule.action == "pass":
            yield Problem(
                f"{where}.dscp",
                "marks what is optimised, and this rule passes everything",
                "leave one of them out",
            )
        if rule.on_failure == "closed" and rule.action == "pass":
            yield Problem(
                f"{where}.on_failure",
                '"closed" refuses what passes, and action = "pass" passes everything',
                "leave one of them out",
            )


def _rule_prefixes(where: str, rule: Rule, config: Config) -> Iterator[Problem]:
    reach = [prefix.network for peer in concerned(rule, config) for prefix in peer.prefixes]
    for number, prefix in enumerate(rule.prefixes):
        if not any(inside(prefix.network, network) for network in reach):
            yield Problem(
                f"{where}.prefixes[{number}]",
                f'"{prefix}" is not behind the peers of this rule, so it never matches',
                "use a part of the prefixes of its peers",
            )


def _caches(config: Config) -> Iterator[Problem]:
    # The kernel is not needed for anything else in this room, and not everybody who reads a file has it loaded.
    from dedupe import disk_size

    takes = sum(disk_size(int(peer.cache)) * len(config.domains(peer.id)) for peer in config.peers)
    if takes > config.cache.disk:
        yield Problem(
            "cache.disk",
            f"the caches of all peers and domains take {show_size(takes)}, more than {show_size(config.cache.disk)}",
            "allow more if the disk has it, or make `cache` of some peers smaller",
        )


def concerned(rule: Rule, config: Config) -> list[Peer]:
    """The peers that `rule` is about."""
    return [peer for peer in config.peers if not rule.peers or peer.id in rule.peers]


def inside(part: Network, whole: Network) -> bool:
    """Whether all of `part` lies in `whole`."""
    if part.version == 4 and whole.version == 4:
        return part.subnet_of(whole)
    return part.version == 6 and whole.version == 6 and part.subnet_of(whole)
