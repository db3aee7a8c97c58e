"""Temporary directories: private, and never left behind for good."""

import subprocess
import sys
from pathlib import Path

from appliance.lab.host import python_environment
from appliance.lab.workspace import Workspace

HOLD = """
import sys
from pathlib import Path
from appliance.lab.workspace import Workspace
made = Workspace(Path(sys.argv[1]))
(made.path / "box.key").write_text("secret")
print(made.path, flush=True)
sys.stdin.read()
"""


def test_it_is_private_and_removed(tmp_path: Path) -> None:
    made = Workspace(tmp_path)
    assert made.path.parent == tmp_path
    assert made.path.stat().st_mode & 0o777 == 0o700
    (made.path / "inside").write_text("x")
    made.close()
    made.close()
    assert list(tmp_path.iterdir()) == []


def test_one_in_use_stays_and_a_killed_ones_is_taken_back(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=python_environment(),
    )
    assert child.stdout is not None
    theirs = Path(child.stdout.readline().strip())
    first = Workspace(tmp_path)
    assert (theirs / "box.key").exists()
    child.kill()
    child.communicate()
    assert (theirs / "box.key").exists()
    second = Workspace(tmp_path)
    assert not theirs.exists()
    assert first.path.exists()
    first.close()
    second.close()


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "branchline-lab-link").symlink_to(elsewhere)
    (tmp_path / "branchline-lab-file").write_text("kept")
    (tmp_path / "other").mkdir()
    Workspace(tmp_path).close()
    assert {path.name for path in tmp_path.iterdir()} == {
        "elsewhere",
        "branchline-lab-link",
        "branchline-lab-file",
        "other",
    }
