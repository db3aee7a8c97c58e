"""A steady stream of UDP datagrams that nobody reads: `python -m appliance.lab.flooding HOST PORT RATE`.

RATE is bytes per second with headers. It ends at the end of its input.
"""

import select
import socket
import subprocess
import sys
import time

from appliance.lab.host import Host

SIZE = 1200
HEADERS = 42
PORT = 9  # discard
STEP_S = 0.002


def start(host: Host, to: str, rate: float) -> "subprocess.Popen[bytes]":
    """Floods `to` from a host; whoever started it kills it."""
    return host.python("appliance.lab.flooding", to, str(PORT), str(rate), stdin=subprocess.PIPE)


def main(host: str, port: int, rate: float) -> None:
    datagram = bytes(SIZE - HEADERS)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        began, sent = time.monotonic(), 0
        while not select.select([sys.stdin], [], [], STEP_S)[0]:
            due = (time.monotonic() - began) * rate
            while sent < due:
                sent += SIZE
                try:
                    sender.sendto(datagram, (host, port))
                except OSError:
                    continue  # the local queue is full, or somebody said that nobody listens


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
