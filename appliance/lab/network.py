"""The lab as a whole: building it, and taking it down whatever happens."""

import atexit
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Self

from appliance.lab import leftovers, topology
from appliance.lab.host import Host
from appliance.lab.profile import WanProfile
from appliance.lab.tools import LabError, ip_batch
from appliance.lab.wan import Wan

# Cubic is what most hosts in a company use; some kernels give namespaces only the unrestricted ones.
CONGESTION = ("cubic", "reno")


def _terminated(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class Lab:
    """client – branch – wan – dc – server, each a network namespace, IPv4 and IPv6 routed through.

    rate in bytes/s (None = unlimited), rtt, jitter and buffer in seconds, loss and reorder as fractions 0..1:
    see WanProfile. second: another WAN between the boxes; `wans` has both. prefix: start of the namespaces'
    names. congestion: congestion control algorithms by preference; the first that the kernel lets a namespace
    use becomes every host's default.

    Use it as a context manager. It is taken down at the end of the block, after an exception, Ctrl-C, SIGTERM or
    the end of the terminal (SIGHUP); what a `kill -9` leaves behind is removed when the next lab with that prefix
    starts.
    Raises LabError when a command or a kernel feature is missing.
    """

    def __init__(
        self,
        rate: float | None = None,
        rtt: float = 0.0,
        loss: float = 0.0,
        jitter: float = 0.0,
        reorder: float = 0.0,
        buffer: float = 0.08,
        prefix: str | None = None,
        congestion: tuple[str, ...] = CONGESTION,
        second: WanProfile | None = None,
    ) -> None:
        self.profile = WanProfile(
            rate=rate, rtt=rtt, jitter=jitter, loss=loss, reorder=reorder, buffer=buffer
        )
        self.prefix = prefix or leftovers.PREFIX
        self.name = leftovers.new_name(self.prefix)
        self.hosts = {
            name: Host(name, self.name.of_host(name), *topology.PRIMARY[name])
            for name in (*topology.HOSTS, *(("wan2",) if second is not None else ()))
        }
        self.client = self.hosts["client"]
        self.branch = self.hosts["branch"]
        self.wan_host = self.hosts["wan"]
        self.dc = self.hosts["dc"]
        self.server = self.hosts["server"]
        self.wan = Wan(self.wan_host, self.branch, self.dc, "wan0")
        self.wans = [self.wan]
        self._profiles = [self.profile]
        if second is not None:
            self.wans.append(Wan(self.hosts["wan2"], self.branch, self.dc, "wan1"))
            self._profiles.append(second)
        self.congestion = ""
        self._preferred = congestion
        self._handled: list[signal.Signals] = []
        self._open = False

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Build the lab; on any failure nothing of it stays."""
        if self._open:
            raise LabError(f"{self.name} is open already")
        leftovers.reclaim(self.prefix)
        self._open = True
        atexit.register(self.close)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) == signal.SIG_DFL:
                    signal.signal(number, _terminated)
                    self._handled.append(number)
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        names = {host.name: host.netns_name for host in self.hosts.values()}
        try:
            ip_batch(None, [f"netns add {name}" for name in names.values()])
        except LabError as error:
            raise LabError(
                f"cannot make network namespaces ({error}); run as root, or through "
                "`python -m appliance.lab.rootless -- COMMAND` where user namespaces are allowed"
            ) from error
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(self._prepare, self.hosts.values()))
            makers = {link.maker.host for link in topology.LINKS}
            list(pool.map(lambda host: ip_batch(names[host], topology.links_made_in(host, names)), makers))
            list(pool.map(lambda host: ip_batch(names[host], topology.addresses_of(host, names)), names))
        for wan, profile in zip(self.wans, self._profiles, strict=True):
            wan.open()
            wan.apply(profile)

    def _prepare(self, host: Host) -> None:
        def write() -> str:
            for name, value in topology.sysctls(host.name).items():
                _write_sysctl(name, str(value))
            for algorithm in self._preferred:
                try:
                    _write_sysctl("net.ipv4.tcp_congestion_control", algorithm)
                except OSError:
                    continue  # not in this kernel, or not for namespaces: the next one
                return algorithm
            raise LabError(f"this kernel lets a namespace use none of {', '.join(self._preferred)}")

        self.congestion = host.call(write)

    def close(self) -> None:
        """Take the lab down; safe to call twice. Signals wait until it is done."""
        if not self._open:
            return
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            self._open = False
            atexit.unregister(self.close)
            for wan in self.wans:
                wan.close()
            existing = [host.netns_name for host in self.hosts.values() if host.netns.exists()]
            try:
                leftovers.remove(existing)
            finally:
                for host in self.hosts.values():
                    host.reap()
        finally:
            if threading.current_thread() is threading.main_thread():
                for number in self._handled:
                    signal.signal(number, signal.SIG_DFL)
                self._handled.clear()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _write_sysctl(name: str, value: str) -> None:
    with open("/proc/sys/" + name.replace(".", "/"), "w") as file:
        file.write(value)
