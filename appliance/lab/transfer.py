"""Moving files from the data-centre server to the branch client, and what that cost."""

import http.client
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from appliance.lab.cost import measure
from appliance.lab.host import Host
from appliance.lab.network import Lab
from appliance.lab.pair import Pair
from appliance.lab.profile import WanProfile
from appliance.lab.serving import PORTS
from appliance.lab.tools import LabError

Protocol = Literal["http", "raw"]
Report = Callable[[str], None]
PIECE = 1 << 20
TELL = 5.0  # seconds between two words about a long transfer
STALL = 60.0  # seconds without a byte after which a transfer has failed
CONNECT_TIMEOUT = 20.0


@dataclass(frozen=True)
class Outcome:
    """One file moved. wan_bytes: both directions. seconds: from connecting to the last byte. cpu_*: of the boxes."""

    file: str
    bytes: int
    wan_bytes: int
    seconds: float
    ok: bool
    cpu_branch_s: float
    cpu_dc_s: float

    @property
    def reduction(self) -> float:
        """1 − WAN bytes / bytes; negative when headers and handshakes outweighed the gain."""
        return 1 - self.wan_bytes / self.bytes if self.bytes else 0.0


class Served:
    """The server's process for these files, and fetching one from it."""

    def __init__(self, lab: Lab, files: Sequence[Path], protocol: Protocol) -> None:
        self._client = lab.client
        self._address = (lab.server.v4, PORTS[protocol])
        self._protocol = protocol
        self._files = list(files)
        self._process = lab.server.python(
            "appliance.lab.serving",
            protocol,
            *(str(path.resolve()) for path in files),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != b"ready":
            raise LabError("the lab's file server did not start; its error is above")

    def fetch(self, number: int, report: Report = lambda _: None) -> bool:
        """Download a file and compare it as it comes; True when every byte and the end are right."""
        path = self._files[number]
        so_far = _progress(path, report)
        with _connect(self._client, self._address) as connection, path.open("rb") as original:
            if self._protocol == "http":
                return _fetch_http(connection, number, original, so_far)
            return _fetch_raw(connection, number, original, so_far)


@contextmanager
def _connect(client: Host, address: tuple[str, int]) -> Iterator[socket.socket]:
    with client.socket() as connection:
        connection.settimeout(CONNECT_TIMEOUT)
        connection.connect(address)
        connection.settimeout(STALL)
        yield connection


def _progress(path: Path, report: Report) -> Callable[[int], None]:
    """What is to be told how many bytes have come; it reports every few seconds."""
    size = path.stat().st_size
    last = time.monotonic()

    def so_far(count: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= TELL:
            last = now
            report(f"{path}: {count / 1e6:,.0f} of {size / 1e6:,.0f} MB")

    return so_far


def _same(
    original: BinaryIO, read_into: Callable[[memoryview], int], so_far: Callable[[int], None] = lambda _: None
) -> bool:
    """True when what comes is the rest of the file, exactly, and then the end. so_far: gets the bytes yet."""
    total = 0
    received = memoryview(bytearray(PIECE))
    expected = memoryview(bytearray(PIECE))
    while count := read_into(received):
        here = 0
        while here < count:
            more = original.readinto(expected[here:count])  # type: ignore[attr-defined]
            if not more:
                return False
            here += more
        if received[:count] != expected[:count]:
            return False
        total += count
        so_far(total)
    return not original.read(1)


def _fetch_raw(
    connection: socket.socket, number: int, original: BinaryIO, so_far: Callable[[int], None]
) -> bool:
    connection.sendall(b"%d\n" % number)
    connection.shutdown(socket.SHUT_WR)
    return _same(original, connection.recv_into, so_far)


def _fetch_http(
    connection: socket.socket, number: int, original: BinaryIO, so_far: Callable[[int], None]
) -> bool:
    browser = http.client.HTTPConnection("server.lab")
    browser.sock = connection
    browser.request("GET", f"/{number}", headers={"Connection": "close"})
    response = browser.getresponse()
    return response.status == 200 and _same(original, response.readinto, so_far)


def transfer(
    files: Sequence[Path],
    profile: WanProfile,
    *,
    optimise: bool = True,
    protocol: Protocol = "http",
    report: Report = lambda _: None,
) -> Iterator[Outcome]:
    """Bring a lab up, move the files in order, one connection each, and take everything down.

    report gets progress for a person. A file that arrives wrong or not at all yields ok=False and the next one
    is tried; LabError when the lab or the boxes cannot be brought up or a box ends.
    """
    with ExitStack() as stack:
        report("building the lab")
        lab = stack.enter_context(
            Lab(
                rate=profile.rate,
                rtt=profile.rtt,
                loss=profile.loss,
                jitter=profile.jitter,
                reorder=profile.reorder,
            )
        )
        pair = None
        if optimise:
            report("starting a Branchline on each side")
            pair = stack.enter_context(Pair(lab))
        served = Served(lab, files, protocol)
        for number, path in enumerate(files):
            report(f"moving {path}")
            yield _measure(lab, pair, served, number, path, report)


def _measure(lab: Lab, pair: Pair | None, served: Served, number: int, path: Path, report: Report) -> Outcome:
    def fetch() -> bool:
        try:
            if served.fetch(number, report):
                return True
            report(f"{path}: what arrived is not the file")
        except (OSError, http.client.HTTPException) as error:
            report(f"{path}: {error or type(error).__name__}")
        return False

    size = path.stat().st_size
    cost = measure(lab, pair, fetch)
    if pair and not cost.optimised:
        report(f"{path}: Branchline let this flow pass through; `branchline flows` would say why")
    return Outcome(
        str(path),
        size,
        cost.wan_bytes,
        cost.seconds,
        cost.ok,
        cost.cpu_branch_s,
        cost.cpu_dc_s,
    )
