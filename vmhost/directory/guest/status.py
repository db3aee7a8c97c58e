"""How far it is: a file with one JSON object, that the box is told of again and again."""

from __future__ import annotations

import json
from pathlib import Path


class Status:
    """Kept in the file `last`, which is replaced as a whole."""

    def __init__(self, last: Path) -> None:
        self._last = last

    def say(
        self, step: str, text: str, part: float | None = None, *, done: bool = False, error: str | None = None
    ) -> None:
        """`part` is the fraction of the whole that is done."""
        line = json.dumps({"step": step, "text": text, "part": part, "done": done, "error": error})
        print(line, flush=True)  # noqa: T201  (the journal's)
        self._last.parent.mkdir(parents=True, exist_ok=True)
        new = self._last.with_name(self._last.name + ".new")
        new.write_text(line + "\n")
        new.replace(self._last)
