"""A pair of haproxies in a lab, as a company would put them there: plain TCP, or TLS 1.3 between the two.

The client speaks to the branch's haproxy, that one to the data centre's, and that one to the server. Both know
each other by pinned certificates, as two Branchlines do.
"""

import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from appliance import identity
from appliance.lab import topology
from appliance.lab.cpu import cpu_seconds
from appliance.lab.host import Host
from appliance.lab.network import Lab
from appliance.lab.running import Running
from appliance.lab.tools import LabError, find

Transport = Literal["plain", "tls"]
OFFSET: dict[Transport, int] = {"plain": 1000, "tls": 2000}  # added to a port on both haproxies
START_TIMEOUT = 10.0
COMMON = """\
global
  maxconn 4000
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  mode tcp
  maxconn 4000
  timeout connect 10s
  timeout client 60s
  timeout server 60s
"""


def _listen(name: str, bind: str, server: str) -> str:
    return f"listen {name}\n  bind {bind}\n  server next {server}\n"


class HaproxyPair(Running):
    """haproxy in the lab's branch and dc, relaying these server ports with both transports."""

    def __init__(self, lab: Lab, ports: Iterable[int]) -> None:
        self.lab = lab
        self._ports = tuple(ports)
        self._directory = Path(tempfile.mkdtemp(prefix="branchline-haproxy-"))
        self._processes: list[subprocess.Popen[bytes]] = []

    def address(self, port: int, transport: Transport) -> tuple[str, int]:
        """Where the client connects to reach the server's port."""
        return self.lab.branch.v4, port + OFFSET[transport]

    def cpu_seconds(self) -> float:
        """Of both processes since they started."""
        return cpu_seconds(process.pid for process in self._processes)

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()
        shutil.rmtree(self._directory)

    def start(self) -> None:
        for name in ("branch", "dc"):
            made = identity.create(self._directory / f"{name}.pem")
            certificate = ssl.DER_cert_to_PEM_cert(made.certificate)
            (self._directory / f"{name}.crt").write_text(certificate)
        for host in (self.lab.dc, self.lab.branch):
            self._run(host)
        deadline = time.monotonic() + START_TIMEOUT
        for address in [self.address(port, way) for port in self._ports for way in OFFSET]:
            self._wait(address, deadline)

    def _run(self, host: Host) -> None:
        config = self._directory / f"{host.name}.cfg"
        config.write_text(COMMON + "".join(self._relays(host.name)))
        self._processes.append(
            host.popen([find("haproxy"), "-db", "-f", str(config)], stdin=subprocess.DEVNULL)
        )

    def _relays(self, name: str) -> list[str]:
        here, there = self._directory / f"{name}.pem", {"branch": "dc", "dc": "branch"}[name]
        trust = f"verify required ca-file {self._directory / there}.crt"
        dc = topology.WAN_ADDRESS["dc"][0]
        relays = []
        for port in self._ports:
            for way, offset in OFFSET.items():
                tls = f" ssl crt {here} {trust}" if way == "tls" else ""
                if name == "branch":
                    ends = f"{self.lab.branch.v4}:{port + offset}", f"{dc}:{port + offset}{tls}"
                else:
                    ends = f"{dc}:{port + offset}{tls}", f"{self.lab.server.v4}:{port}"
                relays.append(_listen(f"{way}-{port}", *ends))
        return relays

    def _wait(self, address: tuple[str, int], deadline: float) -> None:
        while True:
            try:
                with self.lab.client.socket() as probe:
                    probe.connect(address)
                    return
            except OSError as error:
                if time.monotonic() > deadline or any(p.poll() is not None for p in self._processes):
                    raise LabError(f"haproxy does not listen on {address}: {error}") from error
                time.sleep(0.02)
