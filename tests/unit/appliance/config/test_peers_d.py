"""Peers in files of their own: read with the configuration, and named where they are wrong."""

from pathlib import Path

import pytest

from appliance.config import ConfigError, load, peers_d
from appliance.config.schema import Path as WanPath
from appliance.config.schema import Peer
from appliance.config.units import Size
from appliance.config.values import Endpoint, Name, Prefix, PublicKey
from appliance.identity import create

MAIN = """
[box]
id = "dc"
lan = ["lan0"]
wan = ["wan0"]
prefixes = ["10.2.0.0/16"]
key = "box.key"
listen = ["10.9.2.1:4001"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    create(tmp_path / "box.key")
    made = tmp_path / "box.toml"
    made.write_text(MAIN)
    return made


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    key = PublicKey(create(tmp_path / "peer.key").public)
    return Peer(
        id=Name("branch-1"),
        key=key,
        prefixes=(Prefix("10.1.0.0/16"), Prefix("fd01::/48")),
        paths=(WanPath(dial=(Endpoint("10.9.1.1:4001"),), cost=20),),
        cache=Size(64 << 20),
    )


def test_what_is_written_is_read(file: Path, peer: Peer) -> None:
    assert load(file).peers == ()
    assert not peers_d.has(file, "branch-1")
    path = peers_d.write(file, peer)
    assert load(file).peers == (peer,)
    assert peers_d.has(file, "branch-1")
    assert "underlay" not in path.read_text(), "what is as usual is not written down"
    peers_d.remove(file, "branch-1")
    peers_d.remove(file, "branch-1")
    assert load(file).peers == ()


def test_what_is_wrong_is_named_where_it_stands(file: Path, peer: Peer) -> None:
    path = peers_d.write(file, peer)
    good = path.read_text()
    path.write_text(good.replace("10.1.0.0/16", "10.1.0.0/33"))
    with pytest.raises(
        ConfigError, match=r'branch-1.toml: peers\[0\].prefixes\[0\]: "10.1.0.0/33" is not a prefix'
    ):
        load(file)
    path.write_text(good.replace("10.1.0.0/16", "10.2.0.0/16"))
    with pytest.raises(ConfigError, match=r"branch-1.toml: peers\[0\].prefixes\[0\]: .* belongs to"):
        load(file)
    path.write_text(good)
    file.write_text(MAIN.replace("10.2.0.0/16", "ten"))
    with pytest.raises(ConfigError, match=r"box.toml: box.prefixes\[0\]"):
        load(file)


def test_nothing_but_peers_belongs_there(file: Path, peer: Peer) -> None:
    path = peers_d.write(file, peer)
    path.write_text(path.read_text() + "[limits]\nflows = 5\n")
    with pytest.raises(ConfigError, match=r"branch-1.toml: limits: does not belong here"):
        load(file)


def test_other_files_there_are_left_alone(file: Path, peer: Peer) -> None:
    path = peers_d.write(file, peer)
    path.with_name("branch-1.toml.new").write_text("half")
    path.with_name("README").write_text("notes")
    assert load(file).peers == (peer,)
