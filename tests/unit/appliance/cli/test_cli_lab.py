"""`branchline lab` at the screen: options people type, tables they read."""

import pytest

from appliance.cli.lab import columns, fraction, rate, round_trip, table
from appliance.lab.transfer import Outcome


@pytest.mark.parametrize(
    ("text", "value"),
    [("0%", 0.0), ("1%", 0.01), ("0.5%", 0.005), ("100%", 1.0), ("0.02", 0.02), (" 3% ", 0.03)],
)
def test_a_share_of_packets(text: str, value: float) -> None:
    assert fraction(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "%", "101%", "-1%", "1%%", "one", "2", "nan", "nan%"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(ValueError, match="like"):
        fraction(text)


def test_rates() -> None:
    assert rate("unlimited") is None
    assert rate("20mbit") == 2_500_000
    with pytest.raises(ValueError, match="rate"):
        rate("fast")
    with pytest.raises(ValueError, match='"20" is less than'):
        rate("20")


def test_round_trips() -> None:
    assert round_trip("80ms") == pytest.approx(0.08)
    with pytest.raises(ValueError, match='"80" is longer than 60 s'):
        round_trip("80")


def test_columns_line_up() -> None:
    text = columns([("name", "n"), ("a", "1,000"), ("longer", "7")])
    assert text.splitlines() == ["name        n", "a       1,000", "longer      7"]


def test_a_transfer_s_line() -> None:
    outcomes = [
        Outcome("a.tar", 1_000_000, 250_000, 2.0, True, 0.5, 0.25),
        Outcome("b", 1, 900, 0.1, False, 0.0, 0.0),
    ]
    _, first, second = table(outcomes).splitlines()
    assert first.split() == ["a.tar", "1,000,000", "250,000", "75.00%", "2.00", "0.5", "0.50", "0.25", "ok"]
    assert second.split()[3] == "–"
    assert second.endswith("WRONG")
