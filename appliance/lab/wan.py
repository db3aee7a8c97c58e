"""The emulated WAN link of a lab: its quality, its cuts, and what the kernel counted on it."""

import json
import os
import subprocess
from dataclasses import asdict, replace
from typing import Literal, NamedTuple

from appliance.lab import emulation, topology
from appliance.lab.host import Host
from appliance.lab.profile import WanProfile
from appliance.lab.tools import LabError, find, ip_batch

ETHERNET = 14  # bytes of header that nft does not count
Drop = Literal["lost", "cut"]


class WanBytes(NamedTuple):
    """Bytes (or packets) by direction."""

    towards_dc: int
    towards_branch: int

    @property
    def both(self) -> int:
        return self.towards_dc + self.towards_branch


class Wan:
    """The link between the two boxes. Change it at any time with set(), cut() and restore()."""

    def __init__(self, host: Host, branch: Host, dc: Host, interface: str) -> None:
        """`host` is the WAN's namespace, `interface` the name that both boxes give their end of the link."""
        self.profile = WanProfile()
        self.is_cut = False
        self.netem = False
        self._lossy = False
        self._host = host
        self._ends = (branch, dc)
        self._interface = interface
        self._counters = -1
        self._delayer: subprocess.Popen[str] | None = None

    def open(self) -> None:
        """Called by the lab once the links exist."""

        def open_counters() -> int:
            # The file stays the WAN namespace's, whichever thread reads it later.
            return os.open("/proc/thread-self/net/dev", os.O_RDONLY | os.O_CLOEXEC)

        self._counters = self._host.call(open_counters)
        probe = [find("tc"), "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1us"]
        self.netem = self._host.run(probe, capture_output=True).returncode == 0

    def close(self) -> None:
        if self._counters >= 0:
            os.close(self._counters)
            self._counters = -1
        if self._delayer is not None:
            self._delayer.kill()  # it would end by itself at the end of its input, only later
            self._delayer = None

    def set(self, **changes: float | None) -> WanProfile:
        """Change any of rate, rtt, jitter, loss, reorder (see WanProfile); the others stay."""
        profile = replace(self.profile, **changes)  # type: ignore[arg-type]
        self.apply(profile)
        return profile

    def apply(self, profile: WanProfile) -> None:
        """Make the link this. Packets already held back keep the time they were given."""
        if profile.per_packet != self.profile.per_packet:
            for host in (self._host, *self._ends):
                names = emulation.INTERFACES if host is self._host else (self._interface,)
                ip_batch(host.netns_name, topology.segmentation(names, profile.per_packet))
        for interface in emulation.INTERFACES:
            shape = emulation.netem if self.netem else emulation.tbf
            self._tool(["tc", *shape(interface, profile)])
        if not self.netem:
            self._hold_back(profile)
        self.profile = profile
        self._lossy = self._lossy or profile.loss > 0
        self._write_drops()

    def cut(self) -> None:
        """Drop everything, both ways, also what is under way; nobody is told (no link goes down)."""
        self.is_cut = True
        self._write_drops()

    def restore(self) -> None:
        self.is_cut = False
        self._write_drops()

    def bytes(self) -> WanBytes:
        """What the link has carried since the lab was built, in bytes with Ethernet headers, by the kernel.

        What was lost on the way counts; what never got on the link (dropped from the full queue before it,
        or while it was cut) does not. On an unlimited link without loss the kernel hands over aggregates of
        up to 64 KiB with one header each; with a rate or loss the link carries and counts single packets.
        """
        sent = self._sent(8)
        if self._lossy:
            lost = self._drops("lost")
            sent = {name: sent[name] + lost[name][1] + lost[name][0] * ETHERNET for name in sent}
        return WanBytes(sent[topology.TOWARDS_DC], sent[topology.TOWARDS_BRANCH])

    def packets(self) -> WanBytes:
        """Packets that came out at the far end of the link (aggregates, where bytes() counts them)."""
        sent = self._sent(9)
        return WanBytes(sent[topology.TOWARDS_DC], sent[topology.TOWARDS_BRANCH])

    def _sent(self, column: int) -> dict[str, int]:
        lines = (x.partition(":") for x in os.pread(self._counters, 65536, 0).decode().splitlines()[2:])
        counts = {name.strip(): int(rest.split()[column]) for name, _, rest in lines}
        return {name: counts[name] for name in emulation.INTERFACES}

    def dropped(self, kind: Drop = "lost") -> WanBytes:
        """Packets dropped by random loss ("lost") or while the link was cut ("cut"), counted by nft."""
        counts = self._drops(kind)
        return WanBytes(counts[topology.TOWARDS_DC][0], counts[topology.TOWARDS_BRANCH][0])

    def _drops(self, kind: Drop) -> dict[str, tuple[int, int]]:
        """Interface → (packets, bytes without Ethernet headers)."""
        listing = json.loads(self._tool(["nft", "-j", "list", "counters", "table", "inet", "lab_wan"]))
        found = {}
        for item in listing["nftables"]:
            counter = item.get("counter", {"name": ""})
            which, _, interface = counter["name"].partition("_")
            if which == kind:
                found[interface] = (int(counter["packets"]), int(counter["bytes"]))
        return found

    def _tool(self, argv: list[str], text: str | None = None) -> str:
        done = self._host.run([find(argv[0]), *argv[1:]], input=text, capture_output=True, text=True)
        if done.returncode != 0:
            raise LabError(f"{' '.join(argv)} failed in the WAN's namespace: {done.stderr.strip()}")
        return str(done.stdout)

    def _write_drops(self) -> None:
        self._tool(["nft", "-f", "-"], emulation.drops(self.profile, self.is_cut))

    def _hold_back(self, profile: WanProfile) -> None:
        if not profile.delays and self._delayer is None:
            return
        if self._delayer is None:
            self._delayer = self._start_delayer()
        wish = {key: value for key, value in asdict(profile).items() if key in ("jitter", "reorder")}
        for queue in emulation.QUEUES.values():
            self._tell(self._delayer, json.dumps({"queue": queue, "delay": profile.delay, **wish}), "ok")
        for command in ("iptables-nft-restore", "ip6tables-nft-restore"):
            self._tool([command], emulation.queueing(profile.delays))

    def _start_delayer(self) -> subprocess.Popen[str]:
        child = self._host.python(
            "appliance.lab.delaying",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._tell(child, None, "ready")
        return child

    def _tell(self, child: subprocess.Popen[str], line: str | None, expected: str) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            if line is not None:
                child.stdin.write(line + "\n")
                child.stdin.flush()
            answer = child.stdout.readline().strip()
        except BrokenPipeError:
            answer = ""
        if answer != expected:
            child.kill()
            raise LabError(
                "this kernel has no netem, and the process that stands in for it failed: "
                + (child.stderr.read().strip() or f"it said {answer!r}")
            )
