"""A terminal, or a pipe, joined to the serial console of a virtual machine."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

LEAVE = b"\x1d"  # Ctrl-]


def attach(device: Path) -> None:
    """Both ways, until Ctrl-] is typed or the machine ends. OSError if the device cannot be opened."""
    console = os.open(device, os.O_RDWR | os.O_NOCTTY)
    try:
        with _raw(console), _raw(sys.stdin.fileno()):
            _relay(console, sys.stdin.fileno(), sys.stdout.fileno())
    finally:
        os.close(console)


def _relay(console: int, keyboard: int, screen: int) -> None:
    reading = [console, keyboard]
    while True:
        ready, _, _ = select.select(reading, (), ())
        if console in ready:
            try:
                said = os.read(console, 65536)
            except OSError:
                said = b""  # EIO: the machine has ended
            if not said:
                return
            os.write(screen, said)
        if keyboard in ready:
            typed = os.read(keyboard, 65536)
            if not typed:
                reading.remove(keyboard)
            before, left, _ = typed.partition(LEAVE)
            os.write(console, before)
            if left:
                return


@contextlib.contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Every byte as it is typed; nothing if it is no terminal."""
    if not os.isatty(terminal):
        yield
        return
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
