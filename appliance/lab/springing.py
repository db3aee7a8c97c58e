"""A server of bytes that nobody has seen before, and processes that ask it for them.

`python -m appliance.lab.springing serve` inside the server's namespace prints `ready` when it listens, and ends at the
end of its input. A client sends a decimal number and a newline and gets so many random bytes, as often as it likes.
`python -m appliance.lab.springing drain HOST PORT CONNECTIONS` keeps such downloads going in the client's namespace.
"""

import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from appliance.lab.host import Host
from appliance.lab.tools import LabError

PORT = 9002
PIECE = 64 * 1024
ENDLESS = 1 << 50
LONGEST_NUMBER = 20
SINK = 1 << 20
STALL_S = 120.0
_sink = bytearray(SINK)  # what is truncated is never written to it


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        try:
            while line := self.rfile.readline(LONGEST_NUMBER):
                left = int(line)
                while left:
                    piece = os.urandom(min(left, PIECE))
                    self.connection.sendall(piece)
                    left -= len(piece)
        except (OSError, ValueError):
            return  # a client that breaks off


class _Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024


def start(host: Host) -> None:
    """Run the server on a host; it ends with the lab."""
    process = host.python("appliance.lab.springing", "serve", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline().strip() != b"ready":
        raise LabError("the lab's spring did not start; its error is above")


def drain(host: Host, address: tuple[str, int], connections: int) -> "subprocess.Popen[bytes]":
    """Downloads without end from the address; whoever started them ends them (`close`)."""
    words = (address[0], str(address[1]), str(connections))
    return host.python("appliance.lab.springing", "drain", *words, stdin=subprocess.PIPE)


def close(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def fetch(host: Host, address: tuple[str, int], sizes: Sequence[int]) -> float:
    """Downloads so many bytes one after another on one connection; the seconds it took. LabError when it breaks."""
    began = time.monotonic()
    with host.socket() as connection:
        connection.settimeout(STALL_S)
        try:
            connection.connect(address)
            for size in sizes:
                connection.sendall(b"%d\n" % size)
                while size:
                    count = connection.recv_into(_sink, min(size, SINK), socket.MSG_TRUNC)
                    if not count:
                        raise LabError(f"a download ended {size} bytes early")
                    size -= count
        except OSError as error:
            raise LabError(f"a download broke off: {error}") from error
    return time.monotonic() - began


def _serve() -> None:
    with _Server(("::", PORT), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("ready", flush=True)  # noqa: T201 - the protocol with who started it
        sys.stdin.buffer.read()
        server.shutdown()


def _drain(host: str, port: int, connections: int) -> None:
    def pull() -> None:
        while True:
            try:
                with socket.create_connection((host, port)) as connection:
                    connection.sendall(b"%d\n" % ENDLESS)
                    while connection.recv(SINK, socket.MSG_TRUNC):
                        pass
            except OSError:
                continue

    for _ in range(connections):
        threading.Thread(target=pull, daemon=True).start()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve()
    else:
        _drain(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
