"""`branchline cache` on the directory of a box that does not run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from appliance.cli.cache import DIRECTORY, cache
from dedupe import open_cache


@pytest.fixture
def state(tmp_path: Path) -> Path:
    for peer in ("dc", "other"):
        open_cache(tmp_path / DIRECTORY, box="branch", peer=peer, capacity=1 << 16, gap=1 << 16).close()
    return tmp_path


def say(state: Path, *words: str, answer: str = "") -> Result:
    options = ["--state-dir", str(state), "--socket", str(state / "none.sock")]
    return CliRunner().invoke(cache, [*words, *options], input=answer, env={"COLUMNS": "200"})


def test_status(state: Path) -> None:
    done = say(state, "status", "--json")
    assert done.exit_code == 0
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(report["peer"], report["in_use"]) for report in reports] == [("dc", False), ("other", False)]
    assert "closed" in say(state, "status", "dc").stdout
    assert "other" not in say(state, "status", "dc").stdout


def test_verify(state: Path) -> None:
    assert say(state, "verify").exit_code == 0
    (state / DIRECTORY / "dc/channel-0-domain-0/written.journal").unlink()
    assert say(state, "verify").exit_code == 1


def test_clear_asks(state: Path) -> None:
    refused = say(state, "clear", answer="n\n")
    assert refused.exit_code == 1
    assert "cold" in refused.stderr
    assert len(say(state, "status", "--json").stdout.splitlines()) == 2
    assert say(state, "clear", "dc", answer="y\n").exit_code == 0
    assert say(state, "clear", "--yes", "--json").exit_code == 0
    assert "no chunk cache" in say(state, "status").stdout


def test_clear_while_somebody_has_it_open(state: Path) -> None:
    held = open_cache(state / DIRECTORY, box="branch", peer="dc", capacity=1 << 16, gap=1 << 16)
    done = say(state, "clear", "--yes")
    assert done.exit_code == 1
    assert "in use" in done.stderr
    assert "in use" in say(state, "status").stdout
    held.close()


def test_what_may_not_be_read_is_not_taken_for_empty(state: Path) -> None:
    assert say(state, "clear", "dc", "--yes").exit_code == 0
    assert not (state / DIRECTORY / "dc").exists()
    assert "of peer dc" in say(state, "status", "dc").stdout
    (state / DIRECTORY / "other/channel-0-domain-0/identity").unlink()
    (state / DIRECTORY).rename(state / "moved")
    (state / DIRECTORY).touch()
    failed = say(state, "status")
    assert failed.exit_code == 1
    assert DIRECTORY in failed.stderr
    command = [sys.executable, "-m", "appliance.cli", "cache", "status", "--socket", "none"]
    if os.geteuid() == 0:  # nobody else can become somebody who may not
        state.chmod(0o700)
        done = subprocess.run(
            [*command, "--state-dir", str(state)], user=65534, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "root" in done.stderr
