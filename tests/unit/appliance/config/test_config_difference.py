"""A reload touches what the change concerns, and nothing else."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from appliance.config import Config, Peer, Rule, difference, load
from appliance.config.units import Size
from appliance.config.values import Endpoint, Name, Ports

EXAMPLES = Path(__file__).parents[4] / "examples"


@pytest.fixture
def config() -> Config:
    return load(EXAMPLES / "branch.toml", files=False)


def with_peer(config: Config, peer: Peer) -> Config:
    return replace(config, peers=tuple(peer if old.id == peer.id else old for old in config.peers))


def test_nothing(config: Config) -> None:
    change = difference(config, load(EXAMPLES / "branch.toml", files=False))
    assert not change
    assert change.describe() == "nothing"


def test_a_peers_cache(config: Config) -> None:
    change = difference(config, with_peer(config, replace(config.peers[0], cache=Size(2**30))))
    assert change.peers_changed == {"dc": {"cache"}}
    assert change.peers_replaced == {"dc"}
    assert change
    assert change.describe() == "peers dc(cache)"


def test_a_peers_prefixes(config: Config) -> None:
    shorter = replace(config.peers[0], prefixes=config.peers[0].prefixes[:1])
    change = difference(config, with_peer(config, shorter))
    assert change.peers_changed == {"dc": {"prefixes"}}
    assert change.peers_replaced == frozenset(), "its flows go on"


def test_a_new_peer_and_a_lost_one(config: Config) -> None:
    other = replace(config.peers[0], id=Name("dc-9"))
    change = difference(config, replace(config, peers=(other,)))
    assert change.peers_added == {"dc-9"}
    assert change.peers_removed == {"dc"}
    assert not change.peers_changed
    assert change.describe() == "peers +dc-9 -dc"


def test_rules_by_content_and_by_order(config: Config) -> None:
    voice, files = config.rules
    assert difference(config, replace(config, rules=(files, voice))).rules == {"voice", "files"}
    more = replace(config, rules=(voice, files, Rule(name=Name("web"), ports=(Ports("80"),))))
    assert difference(config, more).rules == {"web"}
    assert difference(more, config).rules == {"web"}
    assert difference(config, replace(config, rules=(voice, replace(files, store=False)))).rules == {"files"}


def test_what_needs_a_restart(config: Config) -> None:
    moved = replace(config, box=replace(config.box, id=Name("b"), run_dir="/run/x"))
    assert difference(config, moved).restart == ("box.id", "box.run_dir")
    listening = replace(config, box=replace(config.box, listen=(Endpoint("0.0.0.0:4001"),)))
    change = difference(config, listening)
    assert change.restart == ()


def test_cache(config: Config) -> None:
    change = difference(config, replace(config, cache=replace(config.cache, index=1)))
    assert change.cache == {"index"}
    assert change.describe() == "cache index"


def test_limits(config: Config) -> None:
    change = difference(config, replace(config, limits=replace(config.limits, flows=1)))
    assert change.limits == {"flows"}
