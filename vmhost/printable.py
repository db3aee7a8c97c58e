"""Texts that came from a guest or from a server, before a person sees them."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]+")
_LONGEST = 1000


def printable(text: str) -> str:
    """Nothing in it can move a terminal's cursor, or fill its screen."""
    return _UNPRINTABLE.sub(" ", text)[:_LONGEST]
