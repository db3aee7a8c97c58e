"""Kernel settings that interception needs, and what they were before."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from vmhost import durable


class Sysctls:
    """Sets `wanted` (name → value) below `root`, and remembers in `memory` what was there.

    The memory is a file, so that a control that was killed does not take its own settings for the old ones.
    Methods raise OSError as it comes.
    """

    def __init__(self, wanted: Mapping[str, str], memory: Path, root: Path = Path("/proc/sys")) -> None:
        self._wanted = wanted
        self._memory = memory
        self._root = root

    def ensure(self) -> list[str]:
        """Set what differs; the names of those."""
        differing = {}
        for name, value in self._wanted.items():
            was = self._file(name).read_text().strip()
            if was != value:
                differing[name] = was
        if differing:
            self._remember(differing)
            for name in differing:
                self._file(name).write_text(self._wanted[name])
        return sorted(differing)

    def restore(self) -> None:
        """Put back what was there before the first `ensure`: all that can be, also when one cannot."""
        with contextlib.ExitStack() as stack:
            for name, value in self._before().items():
                if name in self._wanted:
                    stack.callback(self._file(name).write_text, value)
        self._memory.unlink(missing_ok=True)

    def _remember(self, differing: Mapping[str, str]) -> None:
        before = self._before()
        new = {name: value for name, value in differing.items() if name not in before}
        if new:
            durable.replace(self._memory, msgspec.json.encode(before | new))

    def _before(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self._memory.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError:
            return {}  # written whole or not at all: then it is not ours, and nothing in it can be trusted

    def _file(self, name: str) -> Path:
        return self._root.joinpath(*name.split("."))
