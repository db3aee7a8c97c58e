"""The table of reasons is complete and says what people need."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.flows import reasons
from appliance.flows.document import markdown
from appliance.flows.reasons import REASONS, Reason, reason


def test_every_number_has_one_row() -> None:
    constants = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, int)}
    assert sorted(row.number for row in REASONS) == sorted(constants)
    assert len({row.name for row in REASONS}) == len(REASONS)
    assert all(0 <= row.number <= 255 for row in REASONS)


@pytest.mark.parametrize("row", REASONS, ids=lambda row: row.name)
def test_a_row_says_why_and_what_to_do(row: Reason) -> None:
    assert getattr(reasons, row.name.upper()) == row.number
    assert reason(row.number) is row
    assert row.cause
    assert not row.cause.endswith(".")  # it completes "passed through because"
    assert row.remedy.endswith(".")


def test_a_number_of_a_later_release() -> None:
    assert reason(250).name == "reason_250"


def test_the_page_is_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "REASONS.md").read_text()
    assert page == markdown(), "run `python -m appliance.flows.document > docs/REASONS.md`"


@pytest.mark.parametrize(
    ("state", "name"),
    [
        ("silent", "peer_silent"),
        ("path_down", "path_down"),
        ("down", "peer_down"),
        ("connecting", "peer_down"),
    ],
)
def test_what_a_peers_state_means_for_its_flows(state: str, name: str) -> None:
    assert reason(reasons.of_peer(state)).name == name
