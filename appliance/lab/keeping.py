"""Opens connections to an echo, has a byte echoed on each, and keeps them.

`python -m appliance.lab.keeping HOST PORT N` in the client's namespace prints `open` when all have answered, and ends
at the end of its input.
"""

import resource
import socket
import sys

AT_ONCE = 100
TIMEOUT = 30.0


def main(host: str, port: int, count: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    kept: list[socket.socket] = []
    while len(kept) < count:
        fresh = [
            socket.create_connection((host, port), TIMEOUT) for _ in range(min(AT_ONCE, count - len(kept)))
        ]
        for connection in fresh:
            connection.sendall(b"x")
        for connection in fresh:
            if connection.recv(1) != b"x":
                raise ConnectionError("a connection has ended")
        kept += fresh
    print("open", flush=True)  # noqa: T201 - the protocol with who started it
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
