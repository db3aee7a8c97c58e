"""What a new configuration changes, so that a reload touches only what it concerns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from appliance.config.schema import Config, Peer

_FIXED = ("id", "key", "state_dir", "run_dir", "processes")
_REPLACING = {"key", "dials", "cache"}


@dataclass(frozen=True)
class Change:
    """The difference of two configurations. False if there is none."""

    box: frozenset[str] = frozenset()
    """Fields of [box] that differ."""
    limits: frozenset[str] = frozenset()
    """Fields of [limits] that differ."""
    cache: frozenset[str] = frozenset()
    """Fields of [cache] that differ."""
    peers_added: frozenset[str] = frozenset()
    """Ids of peers that are new."""
    peers_removed: frozenset[str] = frozenset()
    """Ids of peers that are gone."""
    peers_changed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Ids of other peers that differ, each with the fields that do."""
    vm: bool = False
    """Whether [vm] differs."""
    rules: frozenset[str] = frozenset()
    """Names of rules that are new, gone, different or at another place in the order."""

    @property
    def restart(self) -> tuple[str, ...]:
        """Key paths of differences that only a restart can bring about."""
        return tuple(f"box.{name}" for name in _FIXED if name in self.box) + ("vm",) * self.vm

    @property
    def peers_replaced(self) -> frozenset[str]:
        """Ids of peers that are another peer now: their lanes and flows cannot go on."""
        return frozenset(name for name, fields in self.peers_changed.items() if fields & _REPLACING)

    def __bool__(self) -> bool:
        return bool(
            self.box
            or self.limits
            or self.cache
            or self.vm
            or self.peers_added
            or self.peers_removed
            or self.peers_changed
            or self.rules
        )

    def describe(self) -> str:
        """For an event: "peers +b2 -b1 dc(cache), rules web, limits flows"; "nothing"."""
        peers = [f"+{name}" for name in sorted(self.peers_added)] + [
            f"-{name}" for name in sorted(self.peers_removed)
        ]
        peers += [
            f"{name}({', '.join(sorted(fields))})" for name, fields in sorted(self.peers_changed.items())
        ]
        parts = {
            "box": sorted(self.box),
            "peers": peers,
            "rules": sorted(self.rules),
            "cache": sorted(self.cache),
            "limits": sorted(self.limits),
        }
        return ", ".join(f"{name} {' '.join(what)}" for name, what in parts.items() if what) or "nothing"


def difference(old: Config, new: Config) -> Change:
    """What leads from `old` to `new`."""
    before = {peer.id: peer for peer in old.peers}
    after = {peer.id: peer for peer in new.peers}
    changed = {name: _peer_fields(before[name], after[name]) for name in before.keys() & after.keys()}
    places_before = {rule.name: (at, rule) for at, rule in enumerate(old.rules)}
    places_after = {rule.name: (at, rule) for at, rule in enumerate(new.rules)}
    return Change(
        box=_fields(old.box, new.box),
        limits=_fields(old.limits, new.limits),
        cache=_fields(old.cache, new.cache),
        vm=old.vm != new.vm,
        peers_added=frozenset(after.keys() - before.keys()),
        peers_removed=frozenset(before.keys() - after.keys()),
        peers_changed={name: fields for name, fields in changed.items() if fields},
        rules=frozenset(
            name
            for name in places_before.keys() | places_after.keys()
            if places_before.get(name) != places_after.get(name)
        ),
    )


def _peer_fields(old: Peer, new: Peer) -> frozenset[str]:
    """With `dials` where the boxes change places: then the streams' numbers, and so the peer, are others."""
    return _fields(old, new) | ({"dials"} if old.dials != new.dials else set())


def _fields(old: Any, new: Any) -> frozenset[str]:
    return frozenset(name for name in old.__struct_fields__ if getattr(old, name) != getattr(new, name))
