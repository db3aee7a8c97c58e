"""Configuration that programs write: TOML from plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

Table = Mapping[str, Any]


def toml(tables: Mapping[str, Table | Sequence[Table]]) -> str:
    """A configuration file from tables of plain values, and lists of such tables."""
    lines: list[str] = []
    for name, content in tables.items():
        for table in [content] if isinstance(content, Mapping) else content:
            lines.append(f"[{name}]" if isinstance(content, Mapping) else f"[[{name}]]")
            lines += [f"{key} = {_value(value)}" for key, value in table.items()]
            lines.append("")
    return "\n".join(lines)


def _value(value: Any) -> str:
    """JSON writes strings, numbers and booleans as TOML does."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)  # TOML has no surrogates


def unusual(section: msgspec.Struct) -> dict[str, Any]:
    """The fields of a section, as plain values, that are not as they are anyway."""
    found = plain(section)
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if value == field.default:
            del found[field.name]
        elif isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
            found[field.name] = [unusual(part) for part in value]
    return found


def plain(section: msgspec.Struct) -> dict[str, Any]:
    """A configuration, or a section of one, as plain values: numbers are bytes and seconds."""
    tree = msgspec.to_builtins(section, enc_hook=_plain)
    assert isinstance(tree, dict)
    return tree


def _plain(value: object) -> object:
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"{value!r} has no place in a configuration")
