"""The data-centre server of a transfer: files over HTTP/1.1 or over bare TCP, in a process of its own.

`python -m appliance.lab.serving http|raw FILE...` inside the server's namespace prints `ready` when it listens
on every IPv4 and IPv6 address, and ends at the end of its input. File number N is `GET /N`; over bare TCP the
client sends `N` and a newline, gets the file and then the end of the stream.
"""

import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

PORTS = {"http": 80, "raw": 9000}
LONGEST_NUMBER = 20


def _file(files: tuple[Path, ...], number: str) -> Path | None:
    return files[int(number)] if number.isdecimal() and int(number) < len(files) else None


class HttpHandler(BaseHTTPRequestHandler):
    """GET of files by number, keep-alive."""

    protocol_version = "HTTP/1.1"
    files: ClassVar[tuple[Path, ...]] = ()

    def do_GET(self) -> None:
        path = _file(self.files, self.path.lstrip("/"))
        if path is None:
            self.send_error(404)
            return
        with path.open("rb") as file:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            self.wfile.flush()
            if path.stat().st_size:
                self.connection.sendfile(file)

    def log_message(self, *_: Any) -> None:
        """Requests are the client's to report."""


class RawHandler(socketserver.StreamRequestHandler):
    """A line with a number in, the file out, end of stream."""

    files: ClassVar[tuple[Path, ...]] = ()

    def handle(self) -> None:
        line = self.rfile.readline(LONGEST_NUMBER).decode("ascii", "replace").strip()
        path = _file(self.files, line)
        if path is not None and path.stat().st_size:
            with path.open("rb") as file:
                self.connection.sendfile(file)


class Server(socketserver.ThreadingTCPServer):
    """IPv4 and IPv6 on one port; a thread a connection."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away (a Ctrl-C) is no error of the server's, and the client's to report."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def main(argv: list[str]) -> None:
    protocol, files = argv[0], tuple(Path(name) for name in argv[1:])
    handler: type[HttpHandler | RawHandler] = HttpHandler if protocol == "http" else RawHandler
    handler.files = files
    with Server(("::", PORTS[protocol]), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("ready", flush=True)  # noqa: T201 - the protocol with who started it
        sys.stdin.buffer.read()
        server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
