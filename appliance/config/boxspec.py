"""From the configuration to what the kernel rules are made from."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Network

from appliance.bypass import Bypass
from appliance.config.schema import Config, Peer, Rule
from appliance.config.values import Network, Prefix
from appliance.config.verify import concerned, inside
from appliance.intercept.specs import BoxSpec, PeerSpec, RuleSpec


def box_spec(config: Config, bypass: Bypass, small: Collection[str] = ()) -> BoxSpec:
    """What `config` and `bypass` want intercepted, refused and passed; all listeners closed.

    The data plane puts its ports in. Peers are numbered in the order of the file. `small`: ids of peers on the way to
    which large packets get lost.
    """
    own4, own6 = _families(prefix.network for prefix in config.box.prefixes)
    endpoints = [
        *config.box.listen,
        *(end for peer in config.peers for path in peer.paths for end in path.dial),
    ]
    return BoxSpec(
        lan=tuple(map(str, config.box.lan)),
        own_ports=tuple(sorted({end.port for end in endpoints})),
        peers=tuple(
            _peer_spec(peer, config, bypass, index, small=peer.id in small)
            for index, peer in enumerate(config.peers, 1)
        ),
        prefixes4=own4,
        prefixes6=own6,
    )


def _peer_spec(peer: Peer, config: Config, bypass: Bypass, index: int, *, small: bool) -> PeerSpec:
    networks4, networks6 = _families(prefix.network for prefix in peer.prefixes)
    if peer.optimise:
        rules = tuple(
            _rule_spec(rule, at, peer, bypass)
            for at, rule in enumerate(config.rules)
            if peer in concerned(rule, config)
            and (not rule.prefixes or _shared(rule.prefixes, peer.prefixes))
        )
    else:
        rules = (RuleSpec(name="optimise", index=0, action="pass"),)
    return PeerSpec(
        index=index,
        id=str(peer.id),
        prefixes4=networks4,
        prefixes6=networks6,
        rules=rules,
        bypass=bypass.covers(peer.id),
        closed=peer.on_failure == "closed",
        public=_public(peer, config),
        small=small,
    )


def _public(peer: Peer, config: Config) -> tuple[str, ...]:
    """The WAN interfaces by which the peer's tunnels leave; a path that names none may leave by each."""
    paths = [path for path in peer.paths if path.underlay == "tunnel"]
    if any(path.interface is None for path in paths):
        return tuple(map(str, config.box.wan))
    return tuple(sorted({str(path.interface) for path in paths}))


def _rule_spec(rule: Rule, index: int, peer: Peer, bypass: Bypass) -> RuleSpec:
    networks4, networks6 = _families(_shared(rule.prefixes, peer.prefixes))
    return RuleSpec(
        name=str(rule.name),
        index=index,
        action=rule.action,
        eager=rule.eager,
        ports=tuple(ports.range for ports in rule.ports),
        prefixes4=networks4,
        prefixes6=networks6,
        bypass=rule.name in bypass.rules,
        closed=rule.action == "optimise" and (rule.on_failure or peer.on_failure) == "closed",
    )


def _shared(narrow: Iterable[Prefix], wide: Iterable[Prefix]) -> list[Network]:
    """The part of the rule's prefixes that is behind the peer."""
    return [
        prefix.network for prefix in narrow if any(inside(prefix.network, behind.network) for behind in wide)
    ]


def _families(networks: Iterable[Network]) -> tuple[tuple[IPv4Network, ...], tuple[IPv6Network, ...]]:
    """As they are: one inside another may win over a third between them that is another site's."""
    listed = list(networks)
    return (
        tuple(network for network in listed if isinstance(network, IPv4Network)),
        tuple(network for network in listed if isinstance(network, IPv6Network)),
    )
