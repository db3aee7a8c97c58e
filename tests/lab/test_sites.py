"""A flow between two branches passes through with its reason, and a site may change while both boxes run."""

from __future__ import annotations

import socket
from typing import Any

from appliance import identity
from appliance.config.written import toml
from appliance.lab import Lab
from appliance.lab.pair import Pair
from tests.lab.plain_pair import ECHO_PORT, Echo, address_of, echoes, until


def connect(lab: Lab) -> socket.socket:
    sock = lab.client.socket()
    sock.settimeout(10)
    sock.connect(("10.2.0.2", ECHO_PORT))
    assert echoes(sock)
    return sock


def seen(pair: Pair, sock: socket.socket) -> dict[str, Any]:
    """The flow as the branch shows it."""
    name = list(address_of(sock))
    found: list[dict[str, Any]] = [flow for flow in pair.branch.call("flows") if flow["client"] == name]
    return found[0] if found else {}


def test_spoke_to_spoke_passes_and_a_reload_makes_it_ours(lab: Lab, echo: Echo) -> None:
    pair = Pair(lab)
    third = identity.create(pair.directory / "third.key")
    alone = pair.dc.config.read_text()
    spoke = {"id": "branch-3", "key": third.public, "prefixes": ["10.2.0.2/32"]}
    pair.dc.config.write_text(alone + toml({"peers": [spoke]}))
    with pair:
        pair.branch.wait(
            lambda: pair.branch.call("peers")[0]["elsewhere"] == ["10.2.0.2/32"], "the centre has said so"
        )

        def passes() -> bool:
            with connect(lab) as sock:
                return bool(seen(pair, sock).get("reason") == "spoke_to_spoke")

        assert until(passes, 10)
        between = connect(lab)
        assert seen(pair, between)["kind"] == "passed"
        assert "branch" in seen(pair, between)["cause"]

        pair.dc.config.write_text(alone)
        pair.dc.call("reload")

        def optimised() -> bool:
            with connect(lab) as sock:
                return bool(seen(pair, sock).get("kind") == "optimised")

        assert until(optimised, 10)
        assert echoes(between), "what was open stays as it was"
        assert seen(pair, between)["reason"] == "spoke_to_spoke"
        between.close()
