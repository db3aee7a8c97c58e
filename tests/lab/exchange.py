"""End hosts that check every byte: run in a namespace, `exchange.py serve` or `exchange.py call`.

A flow begins with a head that says how many bytes go each way and who ends first; the bytes follow from the
flow's seed, so both ends know what to expect. A flow without a whole head is echoed: empty and one-byte flows.
The caller prints one JSON object: flows asked for, flows that were exact, and what went wrong with the others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import struct
import sys
from dataclasses import dataclass

HEAD = struct.Struct("!IQQB")
BOTH, CLIENT_FIRST, SERVER_FIRST = range(3)  # who sends at once, and whose FIN comes first
PIECE = 1 << 16


@dataclass(frozen=True)
class Plan:
    seed: int
    up: int
    down: int
    order: int

    def bytes_up(self) -> bytes:
        return random.Random(self.seed).randbytes(self.up)

    def bytes_down(self) -> bytes:
        return random.Random(~self.seed).randbytes(self.down)


class WrongError(Exception):
    """The bytes that came are not the bytes that were sent."""


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    for at in range(0, len(data), PIECE):
        writer.write(data[at : at + PIECE])
        await writer.drain()
    writer.write_eof()


async def expect(reader: asyncio.StreamReader, data: bytes) -> None:
    got = 0
    while piece := await reader.read(PIECE):
        if piece != data[got : got + len(piece)]:
            raise WrongError(f"other bytes than expected in {got} to {got + len(piece)}")
        got += len(piece)
    if got != len(data):
        raise WrongError(f"{got} of {len(data)} bytes, then a clean end")


async def serve_flow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await reader.read(HEAD.size)
        while 1 < len(head) < HEAD.size and (more := await reader.read(HEAD.size - len(head))):
            head += more
        if len(head) < HEAD.size:
            await send(writer, head)
            await expect(reader, b"")
            return
        plan = Plan(*HEAD.unpack(head))
        if plan.order == CLIENT_FIRST:
            await expect(reader, plan.bytes_up())
            await send(writer, plan.bytes_down())
        elif plan.order == SERVER_FIRST:
            await send(writer, plan.bytes_down())
            await expect(reader, plan.bytes_up())
        else:
            await asyncio.gather(send(writer, plan.bytes_down()), expect(reader, plan.bytes_up()))
    except (OSError, WrongError) as error:
        print(f"server: {error}", file=sys.stderr, flush=True)
        writer.transport.abort()
    finally:
        writer.close()


async def serve(port: int) -> None:
    servers = [
        await asyncio.start_server(serve_flow, host, port, backlog=1024, family=family)
        for host, family in (("0.0.0.0", socket.AF_INET), ("::", socket.AF_INET6))
    ]
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def call_flow(host: str, port: int, plan: Plan) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        if plan.up + plan.down == 0 or (plan.up, plan.down) == (1, 1):
            data = plan.bytes_up()
            await send(writer, data)
            await expect(reader, data)
            return
        writer.write(HEAD.pack(plan.seed, plan.up, plan.down, plan.order))
        if plan.order == CLIENT_FIRST:
            await send(writer, plan.bytes_up())
            await expect(reader, plan.bytes_down())
        elif plan.order == SERVER_FIRST:
            await expect(reader, plan.bytes_down())
            await send(writer, plan.bytes_up())
        else:
            await asyncio.gather(send(writer, plan.bytes_up()), expect(reader, plan.bytes_down()))
    finally:
        writer.close()


def plans(flows: int, largest: int, seed: int) -> list[Plan]:
    """Sizes from nothing to `largest`, mostly small; every order of ends."""
    chance = random.Random(seed)
    sizes = [0, 1, 2, 1000, 4096, 4097, 65536, 262144, 262145]
    made = [Plan(0, 0, 0, BOTH), Plan(1, 1, 1, BOTH)]
    while len(made) < flows:
        up, down = (chance.choice([*sizes, chance.randrange(largest)]) for _ in range(2))
        made.append(Plan(chance.randrange(1 << 32), up, down, chance.randrange(3)))
    return made


async def call(hosts: list[str], port: int, flows: int, largest: int, seed: int) -> None:
    wanted = plans(flows, largest, seed)
    results = await asyncio.gather(
        *(call_flow(hosts[at % len(hosts)], port, plan) for at, plan in enumerate(wanted)),
        return_exceptions=True,
    )
    wrong = [f"{plan}: {error!r}" for plan, error in zip(wanted, results, strict=True) if error is not None]
    print(json.dumps({"flows": flows, "exact": flows - len(wrong), "wrong": wrong[:10]}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["serve", "call"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", action="append", default=[])
    parser.add_argument("--flows", type=int, default=1)
    parser.add_argument("--largest", type=int, default=1 << 20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.what == "serve":
        asyncio.run(serve(options.port))
    else:
        asyncio.run(call(options.host, options.port, options.flows, options.largest, options.seed))


if __name__ == "__main__":
    main()
