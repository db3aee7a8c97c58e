"""docs/CONFIG.md, made from the schema: `python -m appliance.config.document > docs/CONFIG.md`."""

from __future__ import annotations

import sys
import types
import typing
from typing import Any, Final

import msgspec

from appliance.config import schema, values
from appliance.config.units import Duration, Rate, Size, show_rate, show_size
from appliance.config.verify import field_facts
from vmhost.directory.signing import BundleKey

_SECTIONS: Final = (
    ("[box]", schema.Box),
    ("[[peers]]", schema.Peer),
    ("[[peers.paths]]", schema.Path),
    ("[[rules]]", schema.Rule),
    ("[cache]", schema.Cache),
    ("[limits]", schema.Limits),
    ("[vm]", schema.Vm),
)

_HEAD: Final = """\
# Configuration

One TOML file says what a box is, who its peers are and what happens to which flows. It is verified as a whole
before anything on the machine is changed; an error names the file, the field, what is wrong and what to do.

- `branchline config example branch` (or `datacentre`) prints a commented file to start from.
- `branchline config check FILE` verifies a file and changes nothing.
- A directory `peers.d` beside the file belongs to it: each `*.toml` in it holds [[peers]] and nothing else.
  `branchline enrol` writes one for every peer that it makes.
- `branchline reload` puts a changed file in force without touching flows that the change does not concern.
  `box.id`, `box.key`, `box.processes`, `box.state_dir`, `box.run_dir` and `[vm]` need a restart.

Sizes are bytes (`65536`) or text (`"64KiB"`, `"512MiB"`; `"1GB"` is 10⁹). Times are seconds (`0.25`) or text
(`"250ms"`, `"2min"`). Rates are bytes per second (`1250000`) or text (`"10mbit"`). A field that the file does
not have keeps its default; a field that is not listed here is an error.

This page is made from the schema: `python -m appliance.config.document > docs/CONFIG.md`.
"""

_KINDS: Final[dict[Any, str]] = {
    bool: "true or false",
    int: "number",
    str: "text",
    Size: "size",
    Rate: "rate",
    Duration: "time",
    values.Name: "name",
    values.Host: "address",
    values.Interface: "interface",
    values.Prefix: "prefix",
    values.Endpoint: "address and port",
    values.Ports: "port or range",
    values.PublicKey: "public key",
    BundleKey: "public key",
    schema.Path: "table, see below",
}


def markdown() -> str:
    """The whole page."""
    parts = [_HEAD]
    for title, section in _SECTIONS:
        sentence = " ".join((section.__doc__ or "").split())
        parts.append(
            f"\n## `{title}`\n\n{sentence}\n\n| field | value | default | range |  |\n|---|---|---|---|---|\n"
        )
        parts += [_row(field, section) for field in msgspec.structs.fields(section)]
    return "".join(parts)


def _row(field: msgspec.structs.FieldInfo, section: type[Any]) -> str:
    facts = field_facts(section)[field.name]
    low, high, unit = facts["at_least"], facts["at_most"], facts["unit"]
    required = field.default is msgspec.NODEFAULT
    default = "**required**" if required else "" if field.default is None else f"`{_written(field.default)}`"
    span = f"{_plain(low, unit)} to {_plain(high, unit)}" if low is not None else ""
    cells = (f"`{field.name}`", _kind(field.type), default, span, facts["description"])
    return "| " + " | ".join(cells) + " |\n"


def _kind(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _kind(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f'`"{choice}"`' for choice in arguments)
    if origin is tuple:
        return f"list: {_kind(arguments[0])}"
    if origin is types.UnionType:
        return _kind(arguments[0])  # or none
    return _KINDS[kind]


def _written(value: object) -> str:
    """As TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Size):
        return f'"{show_size(value).replace(" ", "")}"'
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_written(part) for part in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(bound: float, unit: str) -> str:
    if unit == "bytes":
        return show_size(bound)
    if unit == "bytes/s":
        return show_rate(bound)
    return f"{bound:.10g}" + (" s" if unit == "seconds" else "")


if __name__ == "__main__":
    sys.stdout.write(markdown())
