"""Every scenario of `branchline lab stress`, by name, in the order of the run."""

from collections.abc import Callable, Iterator
from typing import Final

from appliance.lab.stress import branches, idle, loss, many, openings, outages, pages, urgent
from appliance.lab.stress.figure import Figure

Report = Callable[[str], None]
Scenario = Callable[[Report], Iterator[Figure]]

SCENARIOS: Final[dict[str, Scenario]] = {
    "urgent": urgent.measure,
    "urgent_unknown_rate": urgent.measure_unknown_rate,
    "pages": pages.measure,
    "idle": idle.measure,
    "openings": openings.measure,
    "many": many.measure,
    "loss": loss.measure,
    "switch": outages.switch,
    "cut": outages.cut,
    "lane_kill": outages.lane_kill,
    "branches": branches.measure,
    "branches_two_processes": branches.measure_two_processes,
}
