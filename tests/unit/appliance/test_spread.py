"""Which data process has which peer, and what it may use."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from appliance.bypass import Bypass
from appliance.config import Config, load
from appliance.config.boxspec import box_spec
from appliance.config.values import Name
from appliance.spread import ALONE, number_of, parts

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = [f"branch-{number}" for number in range(200)]


@pytest.fixture
def config() -> Config:
    found = load(EXAMPLES / "datacentre.toml", files=False)
    return replace(found, peers=tuple(replace(found.peers[0], id=Name(name)) for name in NAMES[:20]))


def test_every_peer_has_one_process_and_the_same_for_ever() -> None:
    for of in (1, 2, 5):
        assert all(
            [part.number for part in parts(of) if part.has(name)] == [number_of(name, of)] for name in NAMES
        )
    assert [number_of(name, 2) for name in NAMES[:8]] == [2, 1, 2, 2, 1, 2, 2, 1]


def test_the_peers_spread_about_evenly() -> None:
    counts = [sum(part.has(name) for name in NAMES) for part in parts(4)]
    assert min(counts) > 30


def test_the_limits_are_shared_out(config: Config) -> None:
    shares = [part.config(config).limits for part in parts(3)]
    whole = config.limits
    assert 0.99 * whole.memory < sum(share.memory for share in shares) <= whole.memory
    assert 0.99 * whole.flows < sum(share.flows for share in shares) <= whole.flows
    assert all(share.flow_buffer <= share.memory for share in shares)
    assert all(1 <= share.handshakes <= whole.handshakes for share in shares)


def test_one_process_has_everything(config: Config) -> None:
    assert ALONE.config(config) is config
    spec = box_spec(config, Bypass())
    assert ALONE.spec(spec) == spec


def test_a_process_intercepts_for_its_own_peers(config: Config) -> None:
    first, second = (part.spec(box_spec(config, Bypass())) for part in parts(2))
    assert [peer.here for peer in first.peers] == [not peer.here for peer in second.peers]
    assert (first.part, second.part, first.shared) == (1, 2, True)
