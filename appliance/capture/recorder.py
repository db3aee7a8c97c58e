"""The reader's part of a capture: packets of the LAN and frames of the lanes, into one file of bounded size."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from appliance.capture import pcapng
from appliance.capture.frame_text import sentence
from appliance.capture.record import MOST_BYTES, FrameRecord
from appliance.lanes import frames
from appliance.observing import filters
from appliance.observing.tap import Tap

QUEUE = 16 << 20  # bytes of packets that wait in the kernel, for each interface
LONGEST = 256 << 10  # bytes of a record: the most that Wireshark takes
BATCH = 64
WAIT_S = 0.25


@dataclass
class Recorded:
    """What is in the file: records, its size, and what came too fast for it."""

    packets: int = 0
    frames: int = 0
    bytes: int = 0
    lost: int = 0


class Recorder:
    """Writes `path` (mode 0600). FileExistsError rather than overwrite anything; OSError as it comes."""

    def __init__(self, path: Path, lanes_socket: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._taps: list[Tap] = []
        self._round: list[tuple[float, bytes]] = []  # records of one round, to be put in order
        self.done = Recorded()
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._file: BinaryIO = self._stack.enter_context(os.fdopen(descriptor, "wb"))
            self._lanes = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            self._lanes.setblocking(False)
            before = os.umask(0o177)
            try:
                self._lanes.bind(str(lanes_socket))
            finally:
                os.umask(before)
            self._stack.callback(lanes_socket.unlink, missing_ok=True)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()
        if kind is not None:
            self._path.unlink(missing_ok=True)  # nothing was recorded, or not what was asked for

    def listen(self, interfaces: Sequence[str], ends: tuple[frames.Address, frames.Address]) -> None:
        """Begins to look at these LAN interfaces for the flow between these ends."""
        program = filters.one_flow(*ends)
        self._taps = [
            self._stack.enter_context(Tap(name, program, queue=QUEUE, stamped=True)) for name in interfaces
        ]
        self._write(pcapng.head("branchline capture"))
        for name in interfaces:
            self._write(pcapng.interface(name, pcapng.RAW_IP, LONGEST))
        self._write(pcapng.interface("lanes", pcapng.EXPORTED_PDU, LONGEST))

    def run(self, seconds: float, most: int, enough: Callable[[], bool]) -> Recorded:
        """Records for so long, up to `most` bytes, or until somebody has seen enough."""
        end = time.monotonic() + seconds
        with select.epoll() as poll:
            sources: dict[int, Callable[[], bool]] = {self._lanes.fileno(): self._frame}
            for number, tap in enumerate(self._taps):
                sources[tap.fileno()] = lambda number=number, tap=tap: self._packet(number, tap)  # type: ignore[misc]
            for descriptor in sources:
                poll.register(descriptor, select.EPOLLIN)
            while (left := end - time.monotonic()) > 0 and self.done.bytes < most and not enough():
                for descriptor, _ in poll.poll(min(WAIT_S, left)):
                    self._some(sources[descriptor], most)
                self._write_round()
            for take in sources.values():
                self._some(take, most)
            self._write_round()
        self.done.lost += sum(tap.dropped() for tap in self._taps)
        return self.done

    def _some(self, take: Callable[[], bool], most: int) -> None:
        for _ in range(BATCH):
            if self.done.bytes >= most or not take():
                return

    def _packet(self, number: int, tap: Tap) -> bool:
        try:
            data, incoming, moment = tap.receive(LONGEST)
        except BlockingIOError:
            return False
        self.done.packets += 1
        self._keep(moment, pcapng.packet(number, moment, data, len(data), "in" if incoming else "out"))
        return True

    def _frame(self) -> bool:
        try:
            record = FrameRecord.decode(self._lanes.recv(2 * MOST_BYTES))
        except BlockingIOError:
            return False
        said = sentence(record.kind, record.body)
        ends = (record.local, record.remote) if record.sent else (record.remote, record.local)
        data = pcapng.exported(*ends, said, frames.frame(record.kind, record.body))
        whole = len(data) + record.length - len(record.body)
        self.done.frames += 1
        self.done.lost = record.lost
        direction: pcapng.Direction = "out" if record.sent else "in"
        self._keep(record.time, pcapng.packet(len(self._taps), record.time, data, whole, direction, said))
        return True

    def _keep(self, moment: float, record: bytes) -> None:
        self._round.append((moment, record))
        self.done.bytes += len(record)

    def _write_round(self) -> None:
        for _, record in sorted(self._round):
            self._file.write(record)
        self._round.clear()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.done.bytes += len(data)
