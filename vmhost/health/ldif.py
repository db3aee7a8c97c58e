"""What ldapsearch has printed, read (RFC 2849). Anything a server may have sent is survived."""

from __future__ import annotations

import base64
import binascii

Entry = dict[str, list[bytes]]
"""Values by attribute, in lower case; "dn" is one."""


def parse(text: str) -> list[Entry]:
    """The entries; lines that are none of LDIF are left out."""
    entries: list[Entry] = [{}]
    for line in text.splitlines():
        if not line:
            entries.append({})
            continue
        name, colon, value = line.partition(":")
        if not colon or line[0] in "# ":
            continue
        try:
            raw = (
                base64.b64decode(value[1:].strip(), validate=True)
                if value.startswith(":")
                else value.strip().encode()
            )
        except binascii.Error:
            continue
        entries[-1].setdefault(name.lower(), []).append(raw)
    return [entry for entry in entries if entry]


def first(entry: Entry, name: str) -> str:
    """The first value, as text; empty if there is none."""
    values = entry.get(name.lower(), [])
    return values[0].decode(errors="replace") if values else ""
