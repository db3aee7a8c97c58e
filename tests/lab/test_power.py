"""The power of real boxes is cut under traffic: no wrong byte comes out, and what was saved is still there.

A cut is all of a box killed, and its cache's disk left with a random part of what was not synced.
"""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from appliance.lab import Lab
from appliance.lab.pair import Box, Pair, Side
from appliance.rpc import RpcError, UnreachableError
from tests.lab.bad_disk import BadDisk
from tests.lab.exchanging import call, serving
from tests.lab.plain_pair import until
from tests.lab.test_cache import HOSTS, LARGEST, wait_read_back, wan_bytes
from tests.unit.dedupe.store.shadow import PAGE

CACHE = Side(peer={"cache": "64MiB"})


def cut(box: Box, disk: BadDisk) -> None:
    """Everything of the box dies, and it is switched on again."""
    assert box.process is not None
    box.process.kill()
    box.process.wait()
    assert until(lambda: not box.pids("control") and not box.pids("data"))
    disk.cut()
    box.start()


def passed(box: Box) -> int:
    """Bytes from and to end hosts since its data plane began; -1: it does not run."""
    try:
        totals = box.call("status", plane="data")["totals"]
    except (UnreachableError, FileNotFoundError, TimeoutError, RpcError):
        return -1
    return int(totals["lan_in"] + totals["lan_out"])


def test_the_disk_loses_what_was_not_synced(tmp_path: Path) -> None:
    pages = 64
    place = tmp_path / "disk"
    place.mkdir()
    (place / "file").write_bytes(bytes(pages * PAGE))
    with BadDisk(place) as disk:
        with (place / "file").open("r+b", buffering=0) as file:
            file.write(b"1" * pages * PAGE)
            os.fsync(file.fileno())
            file.seek(0)
            file.write(b"2" * pages * PAGE)
        disk.cut()
        left = (place / "file").read_bytes()
    found = {left[at : at + PAGE] for at in range(0, len(left), PAGE)}
    assert found == {b"1" * PAGE, b"2" * PAGE}


@pytest.mark.timeout(3600)
def test_power_cuts_under_traffic(lab: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    cuts = request.config.getoption("--cuts", default=3)
    chance = random.Random(3)
    complaints = tmp_path / "server.log"
    done = warm = rounds = 0
    with (
        complaints.open("wb") as log,
        serving(lab, complaints=log),
        Pair(lab, branch=CACHE, dc=CACHE) as pair,
    ):
        cold = wan_bytes(lab)
        pair.stop()
        with (
            BadDisk(pair.branch.directory / "state" / "cache") as branch,
            BadDisk(pair.dc.directory / "state" / "cache") as dc,
        ):
            disks = {pair.branch: branch, pair.dc: dc}
            pair.start()
            while done < cuts:
                at = passed(pair.branch) + chance.randrange(LARGEST * 2)
                client = lab.client.popen(call(12, 100 + done, LARGEST, HOSTS), stdout=subprocess.PIPE)
                pair.branch.wait(
                    lambda at=at, client=client: passed(pair.branch) >= at or client.poll() is not None,  # type: ignore[misc]
                    "traffic",
                )
                victims = chance.choice([[pair.branch], [pair.dc], [pair.branch, pair.dc]])
                if chance.random() < 0.4:
                    victims.append(victims[0])  # once more, while it comes back
                for box in victims:
                    assert until(lambda box=box: bool(box.pids("data")), 20)  # type: ignore[misc]
                    cut(box, disks[box])
                    done += 1
                report, _ = client.communicate()
                assert b"WrongError" not in report
                pair.wait_up()
                wait_read_back(pair)
                warm += wan_bytes(lab) < cold / 5
                rounds += 1
            pair.stop()
    wrong = [line for line in complaints.read_text().splitlines() if "Errno" not in line]
    assert wrong == []
    print(f"{done} power cuts of real boxes, warm after {warm} of {rounds} rounds, no wrong byte")
    assert warm >= 0.95 * rounds
