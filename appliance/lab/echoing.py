"""A server that sends back what it gets, in a process of its own that must not be the bottleneck.

`python -m appliance.lab.echoing` inside the server's namespace prints `ready` when it listens, and ends at the end of
its input.
"""

import resource
import select
import socket
import subprocess
import sys

from appliance.lab.host import Host
from appliance.lab.tools import LabError

PORT = 9001
BACKLOG = 4096


def start(host: Host) -> None:
    """Run it on a host; it ends with the lab."""
    process = host.python("appliance.lab.echoing", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline().strip() != b"ready":
        raise LabError("the echo server did not start; its error is above")


def serve(listener: socket.socket) -> None:
    """One thread, edge by edge; a connection ends when its client ends it."""
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    poll.register(sys.stdin, select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    buffer = memoryview(bytearray(65536))
    while True:
        for fd, _ in poll.poll():
            connection = connections.get(fd)
            if connection is None:
                if fd != listener.fileno():
                    return
                _accept(listener, poll, connections)
                continue
            try:
                count = connection.recv_into(buffer)
                if count:
                    connection.sendall(buffer[:count])
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass  # a client that breaks off ends like one that closes
            del connections[fd]
            connection.close()


def _accept(listener: socket.socket, poll: select.epoll, connections: dict[int, socket.socket]) -> None:
    try:
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connections[connection.fileno()] = connection
            poll.register(connection, select.EPOLLIN)
    except BlockingIOError:
        return


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with socket.create_server(
        ("::", PORT), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True
    ) as listener:
        listener.setblocking(False)
        print("ready", flush=True)  # noqa: T201 - the protocol with who started it
        serve(listener)


if __name__ == "__main__":
    main()
