"""What `tc`, `nft` and `iptables-nft` are told for a WanProfile. Pure.

Loss and cut are always nft rules: they count what they drop. Rate, delay, jitter and reorder are netem where
the kernel has it; otherwise tbf holds the rate and a process reading two NFQUEUEs holds the packets back.
"""

from appliance.lab.profile import WanProfile
from appliance.lab.topology import TOWARDS_BRANCH, TOWARDS_DC

QUEUES = {TOWARDS_DC: 0, TOWARDS_BRANCH: 1}  # NFQUEUE number by the interface a packet leaves through
INTERFACES = (TOWARDS_DC, TOWARDS_BRANCH)
UNLIMITED = 12_500_000_000.0  # bytes/s; netem keeps packets in order only when it has a rate
BURST = 32 * 1024


def _bits(rate: float) -> str:
    return f"{round(rate * 8)}bit"


def _microseconds(seconds: float) -> str:
    return f"{round(seconds * 1e6)}us"


def netem(interface: str, profile: WanProfile) -> list[str]:
    """Arguments of `tc` that make one direction of the link with netem."""
    rate = profile.rate or UNLIMITED
    # The limit counts packets waiting out their delay as well as those waiting for the rate.
    held = rate * (profile.delay + profile.jitter + profile.buffer)
    limit = min(max(int(held / 1500), 1000), 200_000)
    words = ["qdisc", "replace", "dev", interface, "root", "netem", "limit", str(limit)]
    words += ["rate", _bits(rate)]
    if profile.delays:
        words += ["delay", _microseconds(max(profile.delay, 1e-6))]
        if profile.jitter:
            words += [_microseconds(profile.jitter)]
    if profile.reorder:
        words += ["reorder", f"{profile.reorder:.6%}"]
    return words


def tbf(interface: str, profile: WanProfile) -> list[str]:
    """Arguments of `tc` that hold one direction of the link to its rate without netem."""
    if profile.rate is None:
        return ["qdisc", "replace", "dev", interface, "root", "pfifo", "limit", "10000"]
    burst = min(BURST, max(3000, int(profile.rate * 0.02)))
    shape = ["rate", _bits(profile.rate), "burst", str(burst), "latency", _microseconds(profile.buffer)]
    return ["qdisc", "replace", "dev", interface, "root", "tbf", *shape]


def drops(profile: WanProfile, cut: bool) -> str:
    """nft text, replacing what was there but not the counters: random loss first, then the cut.

    The cut is after the queue that delays: what is under way when the link dies is lost as well.
    """
    chance = round(profile.loss * 1_000_000)
    lines = [
        "table inet lab_wan {",
        *(f" counter {kind}_{name} {{ }}" for kind in ("lost", "cut") for name in INTERFACES),
        " chain loss { type filter hook forward priority -200; policy accept; }",
        " chain cut { type filter hook forward priority 0; policy accept; }",
        "}",
        "flush chain inet lab_wan loss",
        "flush chain inet lab_wan cut",
    ]
    for name in INTERFACES:
        if chance:
            # nft takes no comparison that always holds.
            random = f"numgen random mod 1000000 < {chance} " if chance < 1_000_000 else ""
            lines.append(f"add rule inet lab_wan loss oifname {name} {random}counter name lost_{name} drop")
        if cut:
            lines.append(f"add rule inet lab_wan cut oifname {name} counter name cut_{name} drop")
    return "\n".join(lines) + "\n"


def queueing(on: bool) -> str:
    """iptables-restore text that sends forwarded packets through the NFQUEUEs, or past them."""
    rules = [f"-A FORWARD -o {name} -j NFQUEUE --queue-num {number}" for name, number in QUEUES.items()]
    return "\n".join(["*mangle", ":FORWARD ACCEPT [0:0]", *(rules if on else []), "COMMIT", ""])
