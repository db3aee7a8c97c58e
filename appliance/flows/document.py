"""docs/REASONS.md, made from the table: `python -m appliance.flows.document > docs/REASONS.md`."""

from __future__ import annotations

import sys
from typing import Final

from appliance.flows.reasons import REASONS

_HEAD: Final = """\
# Why a flow passes through

A flow that Branchline leaves alone has one of these reasons. `branchline flows --kind passed` shows it for every flow;
the number is in bits 8 to 15 of the flow's conntrack mark (`conntrack -L -m 0x79/0xff`), and never changes its meaning.

| number | name | the flow passed through because | what to do |
|---:|---|---|---|
"""

_FOOT: Final = """
This page is made from `appliance/flows/reasons.py`: `python -m appliance.flows.document > docs/REASONS.md`.
"""


def markdown() -> str:
    """The whole page."""
    rows = (f"| {row.number} | `{row.name}` | {row.cause} | {row.remedy} |\n" for row in REASONS)
    return _HEAD + "".join(rows) + _FOOT


if __name__ == "__main__":
    sys.stdout.write(markdown())
