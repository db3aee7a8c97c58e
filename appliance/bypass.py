"""What an administrator has switched off: new flows of it pass through untouched.

Control writes it to the state directory before anything follows it, so that it outlives every process; the data plane
reads it when it starts, and is told of changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from appliance.config import Config
from vmhost import durable


class Bypass(msgspec.Struct, frozen=True):
    """Everything (`all`), or certain peers (by id) and rules (by name)."""

    all: bool = False
    peers: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.all or self.peers or self.rules)

    @classmethod
    def load(cls, state_dir: Path) -> Bypass:
        """What was saved last; nothing is bypassed if nothing was. OSError or ValueError if it cannot be read."""
        path = _file(state_dir)
        try:
            return msgspec.json.decode(path.read_bytes(), type=Bypass)
        except FileNotFoundError:
            return cls()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: {error}; delete it, then say again what is to be bypassed") from None

    def save(self, state_dir: Path) -> None:
        """Replace what is saved, whole or not at all; it is on disk when this returns. OSError as it comes."""
        durable.replace(_file(state_dir), msgspec.json.encode(self))

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Bypass:
        """From what `describe` gives; ValueError if it is something else."""
        return msgspec.convert(dict(tree), cls)

    def describe(self) -> dict[str, Any]:
        """As plain values: {"all": bool, "peers": [id], "rules": [name]}."""
        return {"all": self.all, "peers": sorted(self.peers), "rules": sorted(self.rules)}

    def covers(self, peer: str) -> bool:
        """Whether all flows to the peer of that id pass."""
        return self.all or peer in self.peers

    def switched(self, on: bool, *, peer: str | None = None, rule: str | None = None) -> Bypass:
        """On or off for one peer, one rule or, with neither given, everything; all off forgets peers and rules."""
        if peer is None and rule is None:
            return msgspec.structs.replace(self, all=True) if on else Bypass()
        return msgspec.structs.replace(
            self, peers=_switched(self.peers, peer, on), rules=_switched(self.rules, rule, on)
        )

    def within(self, config: Config) -> Bypass:
        """Without peers and rules that `config` does not know."""
        return Bypass(
            self.all,
            self.peers & {str(peer.id) for peer in config.peers},
            self.rules & {str(rule.name) for rule in config.rules},
        )


def _file(state_dir: Path) -> Path:
    return state_dir / "bypass.json"


def _switched(names: frozenset[str], name: str | None, on: bool) -> frozenset[str]:
    if name is None:
        return names
    return names | {name} if on else names - {name}
