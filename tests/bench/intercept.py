"""What the interception handle costs the data plane's loop: `sudo .venv/bin/python -m tests.bench.intercept PEERS`.

Runs in a network namespace of its own, which ends with it. Prints one JSON object.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network

from appliance.intercept import BoxSpec, Interception, Nft, PeerSpec, RuleSpec

CLONE_NEWNET = 0x40000000
ELEMENT = (
    "add table inet other; add set inet other names { type ifname; }; add element inet other names { lo }"
)


def spec(peers: int) -> BoxSpec:
    """A hub with so many branches of one prefix in each family."""
    rules = (RuleSpec("web", 0, "optimise", eager=True, ports=((80, 80), (443, 443))),)
    return BoxSpec(
        lan=("lan0",),
        own_ports=(4001,),
        peers=tuple(
            PeerSpec(
                index=index,
                id=f"branch-{index}",
                prefixes4=(IPv4Network((0x0A000000 + (index << 12), 20)),),
                prefixes6=(IPv6Network((0xFD << 120 | index << 80, 48)),),
                port4=10000 + index,
                port6=20000 + index,
                rules=rules,
            )
            for index in range(1, peers + 1)
        ),
    )


def seconds(work: Callable[[int], object], times: int) -> float:
    """Of one call, on average."""
    began = time.perf_counter()
    for number in range(times):
        work(number)
    return (time.perf_counter() - began) / times


def main(peers: int) -> int:
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"no network namespace ({os.strerror(code)}); run as root")
    full = spec(peers)
    one_down = dataclasses.replace(
        full, peers=(dataclasses.replace(full.peers[0], port4=None, port6=None), *full.peers[1:])
    )
    interception, nft = Interception(full, 0.25), Nft()
    figures = {
        "peers": peers,
        "open_s": seconds(lambda _: interception.open(), 1),
        "heartbeat_s": seconds(lambda _: interception.heartbeat(), 1000),
        "refuse_s": seconds(lambda number: interception.refuse("10.0.0.1", number + 1), 1000),
        "update_one_peer_s": seconds(lambda number: interception.update((one_down, full)[number % 2]), 6),
        "libnftables_element_s": seconds(lambda _: nft.run(ELEMENT), 6),
    }
    interception.close()
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
