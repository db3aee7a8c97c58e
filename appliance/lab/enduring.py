"""Sessions that are to outlive what is done to the WAN: `python -m appliance.lab.enduring '{"host": …}'`.

Runs in the client's namespace against the mirror. It prints `open` when every session is, goes on until the end of its
input, lets all of them finish, and prints one JSON object. Every byte that comes back is compared.
"""

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field

from appliance.lab.host import Host
from appliance.lab.tools import LabError

PIECE = 1 << 15
WINDOW = 8  # pieces under way on one transfer
TICK = b"tick"
FINISH_S = 90.0
LOOK_S = 0.2
NOTICED_S = 0.15


@dataclass(frozen=True)
class Wish:
    """transfers send all they can. idle ones say a word at the beginning and at the end. tick: seconds between the
    words of one more session, whose longest silence is measured."""

    host: str
    port: int
    transfers: int
    idle: int
    tick: float = 0.01


@dataclass
class Endured:
    """bytes: sent and come back. gaps: seconds without a word on the ticking session, each that anyone notices."""

    sessions: int
    bytes: int = 0
    gaps: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def worst_gap(self) -> float:
        return max(self.gaps, default=0.0)


class Sessions:
    """The process that runs them, from the lab's side."""

    def __init__(self, host: Host, wish: Wish) -> None:
        self._process = host.python(
            "appliance.lab.enduring",
            json.dumps(asdict(wish)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "open":
            raise LabError("the sessions did not open; the error is above")

    def finish(self) -> Endured:
        """Lets them end; LabError when the process failed."""
        answer, _ = self._process.communicate()
        if self._process.returncode:
            raise LabError("the sessions broke off; the error is above")
        return Endured(**json.loads(answer))


class _Run:
    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.stop = asyncio.Event()
        self.endured = Endured(wish.transfers + wish.idle + 1)

    async def go(self) -> Endured:
        kinds = [self._transfer] * self.wish.transfers + [self._idle] * self.wish.idle + [self._ticker]
        opened = await asyncio.gather(
            *(asyncio.open_connection(self.wish.host, self.wish.port) for _ in kinds)
        )
        for reader, writer in opened:
            await _said(reader, writer, b"open")
        print("open", flush=True)  # noqa: T201 - the protocol with who started it
        asyncio.get_running_loop().add_reader(sys.stdin, self._input)
        work = [
            asyncio.create_task(kind(at, reader, writer))
            for at, (kind, (reader, writer)) in enumerate(zip(kinds, opened, strict=True))
        ]
        await self.stop.wait()
        _, late = await asyncio.wait(work, timeout=FINISH_S)
        self.endured.broken += [f"not finished after {FINISH_S:.0f} s"] * len(late)
        self.endured.broken += [
            repr(task.exception()) for task in work if task not in late and task.exception()
        ]
        return self.endured

    def _input(self) -> None:
        if not sys.stdin.buffer.read1():  # type: ignore[union-attr]
            asyncio.get_running_loop().remove_reader(sys.stdin)
            self.stop.set()

    async def _transfer(self, seed: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent, room = random.Random(seed), asyncio.Semaphore(WINDOW)
        count = 0
        done = asyncio.Event()

        async def send() -> None:
            nonlocal count
            while not self.stop.is_set():
                await room.acquire()
                writer.write(sent.randbytes(PIECE))
                await writer.drain()
                count += 1
            done.set()

        sending = asyncio.create_task(send())
        expected = random.Random(seed)
        back = 0
        while not (done.is_set() and back == count):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    LOOK_S
                ):  # the last piece may be back before the sender knows its count
                    piece = await reader.readexactly(PIECE)
                    if piece != expected.randbytes(PIECE):
                        raise ValueError(f"other bytes than were sent, in piece {back}")
                    back += 1
                    self.endured.bytes += PIECE
                    room.release()
        await sending
        writer.close()

    async def _idle(self, seed: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.stop.wait()
        await _said(reader, writer, seed.to_bytes(4, "big"))
        writer.close()

    async def _ticker(self, _seed: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = asyncio.Event()

        async def send() -> int:
            count = 0
            while not self.stop.is_set():
                writer.write(TICK)
                count += 1
                await asyncio.sleep(self.wish.tick)
            ended.set()
            return count

        sending = asyncio.create_task(send())
        last, got = time.monotonic(), 0
        while not (ended.is_set() and got == sending.result()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await reader.readexactly(len(TICK))
                    now = time.monotonic()
                    if now - last > NOTICED_S:
                        self.endured.gaps.append(now - last)
                    last, got = now, got + 1
        writer.close()


async def _said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, word: bytes) -> None:
    writer.write(word)
    back = await reader.readexactly(len(word))
    if back != word:
        raise ValueError(f"{back!r} came back for {word!r}")


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_Run(Wish(**json.loads(sys.argv[1]))).go()))))  # noqa: T201 - the answer
