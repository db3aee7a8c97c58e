"""`branchline codec measure` on small made files."""

import json
import os
import random
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from appliance.cli import branchline, codec
from appliance.cli.codec import LEVELS
from dedupe import machine_memory

SPEEDS = {"encode_mb_s", "decode_mb_s", "memcpy_mb_s", "memcmp_mb_s"}
KEYS = {"file", "bytes", "out_bytes", "ok", "index_bytes", "log_bytes"} | SPEEDS


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Old, new (a few bytes differ), and nothing."""
    numbers = random.Random(5)
    content = bytearray(
        b"".join(numbers.choice([b"spam ", b"eggs ", numbers.randbytes(7)]) for _ in range(100_000))
    )
    old, new, empty = (tmp_path / name for name in ("old.bin", "new.bin", "empty"))
    old.write_bytes(content)
    content[200_000:200_000] = b"something else"
    new.write_bytes(content)
    empty.touch()
    return old, new, empty


def measure(*arguments: object) -> Result:
    return CliRunner().invoke(branchline, ["codec", "measure", *map(str, arguments)])


@pytest.mark.parametrize("level", LEVELS)
def test_json(files: tuple[Path, Path, Path], level: str) -> None:
    old, new, empty = files
    result = measure("--json", "--level", level, old, old, new, empty)
    assert result.exit_code == 0, result.output
    cold, warm, modified, nothing = rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(row.keys() >= KEYS and row["ok"] is True for row in rows)
    assert [row["file"] for row in rows] == ["old.bin", "old.bin", "new.bin", "empty"]
    assert [row["bytes"] for row in rows] == [path.stat().st_size for path in (old, old, new, empty)]
    assert all(row["copies"] + row["literals"] == row["bytes"] for row in rows)
    assert warm["out_bytes"] < cold["bytes"] / 1000
    assert warm["out_bytes"] <= modified["out_bytes"] < cold["bytes"] / 200
    assert nothing["out_bytes"] == 0
    assert all(row[key] > 0 for row in rows[:3] for key in SPEEDS)


def test_levels_are_worth_their_time(files: tuple[Path, Path, Path]) -> None:
    sizes = [
        json.loads(measure("--json", "--level", level, files[0]).stdout)["out_bytes"] for level in LEVELS
    ]
    assert sizes[0] > sizes[1] > sizes[2]
    assert sizes[3] <= sizes[2] * 1.01


def test_table(files: tuple[Path, Path, Path]) -> None:
    result = measure(*files)
    assert result.exit_code == 0
    assert "memcpy" in result.stdout
    assert result.stdout.count(" ok") == 3
    assert "index: " in result.stdout


def test_a_log_smaller_than_the_file(files: tuple[Path, Path, Path]) -> None:
    """Nothing of it is left when it comes again, and it still arrives."""
    row, again = map(
        json.loads, measure("--json", "--cache", "64KiB", files[0], files[0]).stdout.splitlines()
    )
    assert row["ok"]
    assert again["ok"]
    assert again["copies"] < again["bytes"] / 2


@pytest.mark.parametrize("arguments", [(), ("--cache", "1"), ("--cache", "much")])
def test_wrong_commands(files: tuple[Path, Path, Path], arguments: tuple[str, ...]) -> None:
    result = measure(*arguments, *(files[:1] if arguments else ()))
    assert result.exit_code == 2


def test_a_cache_that_memory_does_not_hold(files: tuple[Path, Path, Path]) -> None:
    result = measure("--cache", "512GiB", files[0])
    assert result.exit_code == 1
    assert "smaller --cache" in result.output
    assert not isinstance(result.exception, OSError)


def test_large_files_do_not_ask_for_all_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(codec, "Bench", lambda capacity, effort: asked.append(capacity))
    huge = tmp_path / "huge"
    huge.touch()
    os.truncate(huge, 4 * machine_memory())
    measure(huge)
    assert asked
    assert 4 * asked[0] <= machine_memory() // 2
