"""The boxes' configuration files as the lab writes them."""

import tomllib
from typing import Any

from appliance.config import load
from appliance.config.written import toml
from appliance.lab import Lab
from appliance.lab.pair import EAGER, Pair, Side


def test_toml_is_what_was_meant() -> None:
    tables: dict[str, Any] = {
        "box": {"id": "a", "lan": ["lan0", "lan1"], "heartbeat": 0.25},
        "rules": [{"name": 'quoted "x" \\ é', "eager": True}, {"name": "b", "ports": []}],
        "peers": [{"paths": [{"name": "x", "dial": ["a:1"], "metered": True}, {"cost": 3}]}],
    }
    assert tomllib.loads(toml(tables)) == tables


def test_both_files_are_accepted_and_fit_together() -> None:
    pair = Pair(
        Lab(),
        branch=Side(peer={"on_failure": "closed"}, limits={"flows": 7}),
        dc=Side(box={"heartbeat": 0.5}),
    )
    try:
        branch, dc = (load(str(box.config)) for box in pair.boxes)
        assert branch.limits.flows == 7
        assert branch.peers[0].on_failure == "closed"
        assert branch.peers[0].key == pair.dc.identity.public
        assert dc.peers[0].key == pair.branch.identity.public
        assert dc.box.heartbeat == 0.5
        assert branch.box.prefixes == dc.peers[0].prefixes
        assert [rule.name for rule in branch.rules] == [rule["name"] for rule in EAGER]
        assert branch.peers[0].paths[0].dial[0].port == dc.box.listen[0].port
        assert not dc.peers[0].dials
    finally:
        pair.close()
    assert not pair.directory.exists()
