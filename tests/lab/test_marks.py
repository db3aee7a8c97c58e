"""DSCP marks cross with the flows, and say who waits on a thin line."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from appliance import marking
from appliance.lab import Host, Lab, springing
from appliance.lab.pair import Pair
from tests.lab.plain_pair import address_of, until

RATE = 2_500_000
DEADLINE_S = 20.0
WATCHED = 3_000_000  # bytes of both downloads together
PATIENT: marking.Mark = "cs1"
USUAL: marking.Mark = "af11"
SEEN = """
table inet seen {{
 chain in {{
  type filter hook input priority 0
  ip6 dscp {patient} tcp {end} {port} counter
  ip dscp {usual} tcp {end} {port} counter
 }}
}}
"""


def download(host: Host, server: str, mark: marking.Mark) -> socket.socket:
    sock = host.socket(socket.AF_INET6 if ":" in server else socket.AF_INET)
    marking.write(sock, marking.NUMBERS[mark])
    sock.connect((server, springing.PORT))
    sock.sendall(b"%d\n" % springing.ENDLESS)

    def drain() -> None:
        with contextlib.suppress(OSError):
            while sock.recv(springing.SINK, socket.MSG_TRUNC):
                pass

    host.thread(drain)
    return sock


def flow(pair: Pair, sock: socket.socket) -> dict[str, Any]:
    """As the branch shows it; empty until it has accepted the flow, which is after the client's connect()."""
    name = list(address_of(sock))
    return next((flow for flow in pair.branch.call("flows") if flow["client"] == name), {})


def test_marks_cross_and_a_patient_flow_waits(new_lab: Callable[..., Lab]) -> None:
    lab = new_lab(rate=RATE, rtt=0.02)
    springing.start(lab.server)
    for host, end in ((lab.server, "dport"), (lab.client, "sport")):
        text = SEEN.format(patient=PATIENT, usual=USUAL, end=end, port=springing.PORT)
        host.run(["nft", "-f", "-"], input=text, text=True, check=True)
    with Pair(lab, rate=RATE) as pair:
        patient = download(lab.client, lab.server.v6, PATIENT)
        usual = download(lab.client, lab.server.v4, USUAL)

        def carried() -> list[int]:
            return [int(flow(pair, sock).get("lan_out", 0)) for sock in (patient, usual)]

        assert until(lambda: min(carried()) > 100_000, DEADLINE_S), "both have begun"

        def waits() -> bool:
            """In a stretch in which neither end was held up."""
            before = carried()
            assert until(lambda: sum(carried()) - sum(before) > WATCHED, DEADLINE_S)
            waited, went = (now - then for now, then in zip(carried(), before, strict=True))
            return went > 3 * waited

        assert until(waits, DEADLINE_S)
        assert [flow(pair, sock)["dscp"] for sock in (patient, usual)] == [8, 10]
        for host in (lab.server, lab.client):
            listing = host.run(
                ["nft", "list", "table", "inet", "seen"], capture_output=True, text=True
            ).stdout
            assert "packets 0 " not in listing
        for sock in (patient, usual):
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()
