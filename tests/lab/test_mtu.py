"""Links of every size: what is optimised and what passes arrives whole, also where nobody says "too big"."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from appliance.lab import Lab
from appliance.lab.pair import Pair
from tests.lab.exchanging import call, serving

OPTIMISED, PASSED = 5000, 5001
RULES = (
    {"name": "plain", "ports": [str(PASSED)], "action": "pass"},
    {"name": "lab", "ports": ["1-65535"], "eager": True},
)
USUAL = 1500
SILENT = """
table inet silent_wan {
 chain sent {
  type filter hook output priority 0;
  icmp type destination-unreachable icmp code frag-needed drop
  icmpv6 type packet-too-big drop
 }
}
"""
NARROW = """
table inet narrow {
 chain in {
  type filter hook prerouting priority 0
  meta length > 1280 drop
 }
}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A WAN that carries single packets, and never says that one is too big; a server on both ports."""
    with Lab(rate=12_500_000, rtt=0.01) as lab:
        lab.wan_host.run(["nft", "-f", "-"], input=SILENT, text=True, check=True)
        with serving(lab, OPTIMISED), serving(lab, PASSED):
            yield lab


def size(lab: Lab, lan: int, near: int, far: int) -> None:
    """MTU of both LANs, and of the WAN's links to the branch and to the data centre."""
    ends = (
        (lan, (lab.client, "eth0"), (lab.branch, "lan0"), (lab.dc, "lan0"), (lab.server, "eth0")),
        (near, (lab.branch, "wan0"), (lab.wan_host, "branch")),
        (far, (lab.dc, "wan0"), (lab.wan_host, "dc")),
    )
    for mtu, *interfaces in ends:
        for host, interface in interfaces:
            host.run(["ip", "link", "set", interface, "mtu", str(mtu)], check=True)


def exact(lab: Lab, port: int, seed: int) -> bool:
    """Whether flows of both families and in both directions carry their bytes."""
    done = lab.client.run(call(8, seed, port=port), capture_output=True, timeout=40)
    return bool(json.loads(done.stdout)["exact"] == 8)


@pytest.mark.parametrize(
    "sizes",
    [[(USUAL, USUAL, 1280)], [(USUAL, 1492, 1492), (9000, 9000, 9000), (9000, 1280, 1280)]],
    ids=["one end", "both ends"],
)
def test_flows_fit_into_links_of_every_size(lab: Lab, sizes: list[tuple[int, int, int]]) -> None:
    size(lab, *sizes[0])
    with Pair(lab, rules=RULES) as pair:
        for seed, (lan, near, far) in enumerate(sizes):
            size(lab, lan, near, far)
            before = pair.branch.flows_intercepted()
            assert exact(lab, PASSED, seed), f"passed, LAN {lan}, WAN {near} and {far}"
            assert pair.branch.flows_intercepted() == before
            assert exact(lab, OPTIMISED, seed), f"optimised, LAN {lan}, WAN {near} and {far}"
            assert pair.branch.flows_intercepted() == before + 8
        assert not any(path["small"] for path in pair.branch.call("peers")[0]["paths"])


def test_a_narrow_place_that_says_nothing_is_found(lab: Lab) -> None:
    """Nothing at either box tells of it."""
    size(lab, 9000, 9000, 9000)
    lab.wan_host.run(["nft", "-f", "-"], input=NARROW, text=True, check=True)
    try:
        with Pair(lab, rules=RULES) as pair:
            assert exact(lab, OPTIMISED, 6)
            for box in pair.boxes:
                box.wait(lambda box=box: box.call("peers")[0]["paths"][0]["small"], "it is found")  # type: ignore[misc]
            said = [event for event in pair.branch.events() if event["kind"] == "path.small"]
            assert len(said) == 1
            small = ["nft", "list", "set", "inet", "branchline_fate", "small6"]
            pair.branch.wait(
                lambda: b"fd02::/48" in lab.branch.run(small, capture_output=True).stdout,
                "what passes is told",
            )
            assert exact(lab, PASSED, 6)
    finally:
        lab.wan_host.run(["nft", "delete", "table", "inet", "narrow"], check=True)
