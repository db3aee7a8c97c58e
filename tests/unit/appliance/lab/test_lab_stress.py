"""A figure of `branchline lab stress`: when it is ok, and what is printed of it."""

from click.testing import CliRunner

from appliance.cli.stress import stress
from appliance.lab.stress.figure import HEADINGS, Figure


def test_a_limit_is_the_most_or_the_least() -> None:
    assert Figure("p99", 100.0, "ms", limit=100.0).ok
    assert not Figure("p99", 100.1, "ms", limit=100.0).ok
    assert Figure("openings", 800.0, "1/s", limit=800.0, at_least=True).ok
    assert not Figure("openings", 799.0, "1/s", limit=800.0, at_least=True).ok


def test_json_has_the_keys_that_are_promised() -> None:
    figure = Figure("p99", 91.23456, "ms", limit=100.0, peer_value=2000.0)
    assert figure.as_json() == {
        "name": "p99",
        "value": 91.23,
        "unit": "ms",
        "peer_value": 2000.0,
        "limit": 100.0,
        "at_least": False,
        "ok": True,
    }


def test_cells_fit_the_headings() -> None:
    cells = Figure("openings", 1700.0, "1/s", limit=800.0, at_least=True).cells()
    assert len(cells) == len(HEADINGS)
    assert cells[3:] == ("–", "≥ 800.0", "ok")


def test_an_unknown_scenario_is_refused() -> None:
    result = CliRunner().invoke(stress, ["--only", "nothing"])
    assert result.exit_code == 2
    assert "urgent" in result.output
