"""An echo that keeps every byte however slowly it is read.

`python -m appliance.lab.mirroring` inside the server's namespace prints `ready` when it listens, and ends at the end
of its input.
"""

import asyncio
import socket
import subprocess
import sys

from appliance.lab.host import Host
from appliance.lab.tools import LabError

PORT = 9003
PIECE = 1 << 16


def start(host: Host) -> None:
    """Run it on a host; it ends with the lab."""
    process = host.python("appliance.lab.mirroring", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline().strip() != b"ready":
        raise LabError("the echo server did not start; its error is above")


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass  # a client that breaks off ends like one that closes
    writer.close()


async def _serve() -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    with socket.create_server(
        ("::", PORT), family=socket.AF_INET6, backlog=1024, dualstack_ipv6=True
    ) as sock:
        async with await asyncio.start_server(_echo, sock=sock):
            print("ready", flush=True)  # noqa: T201 - the protocol with who started it
            await ended.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
