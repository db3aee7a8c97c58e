"""A server of text without end, of which no two connections get the same.

`python -m appliance.lab.telling PORT` inside a namespace prints `ready` when it listens, and ends at the end of its
input. Text compresses as the traffic of offices does, three to one, and takes the codec the more time for it.
"""

import contextlib
import itertools
import random
import socketserver
import subprocess
import sys
import threading

from appliance.lab.host import Host
from appliance.lab.tools import LabError

PORT = 9003
PIECE = 1 << 16
STOCK = 4 << 20
LETTERS = bytes(range(97, 123))


def stock(size: int) -> bytes:
    """Text of words. What is told are pieces of it, each with its letters exchanged: cheap to make, and nothing that a
    chunk cache finds again."""
    chance = random.Random(1)
    words = [bytes(chance.choices(b"etaoinshrdlu", k=chance.randrange(2, 10))) for _ in range(4096)]
    return b" ".join(chance.choices(words, k=size // 4))[:size]


def start(host: Host) -> None:
    """Run the server on a host; it ends with the lab."""
    process = host.python("appliance.lab.telling", str(PORT), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline().strip() != b"ready":
        raise LabError("the lab's teller did not start; its error is above")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024


def main(port: int) -> None:
    text = stock(STOCK)
    numbers = itertools.count()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            chance = random.Random(next(numbers))
            letters = list(LETTERS)
            with contextlib.suppress(OSError):
                while True:
                    at = chance.randrange(STOCK - PIECE)
                    chance.shuffle(letters)
                    table = bytes.maketrans(LETTERS, bytes(letters))
                    self.request.sendall(text[at : at + PIECE].translate(table))

    server = _Server(("0.0.0.0", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)  # noqa: T201 - the protocol with who started it
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
