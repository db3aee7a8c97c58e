"""What the machine tells the box of itself."""

import json
from pathlib import Path

import pytest

from vmhost.directory.guest import telling


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it looks: `LAST`, `JOINED` and `SEED` in a directory."""
    for name in ("LAST", "JOINED", "SEED"):
        monkeypatch.setattr(telling, name, tmp_path / name)
    return tmp_path


def test_a_machine_that_nobody_has_told_what_to_be(places: Path) -> None:
    wrong = "the machine has not joined a domain, and there is no seed that says which"
    assert telling._state(first=True)["error"] == wrong
    (places / "SEED").touch()
    assert telling._state(first=True) == {
        "step": "boot",
        "text": "the machine boots",
        "part": None,
        "done": False,
        "error": None,
    }


def test_what_the_join_has_said_last(places: Path) -> None:
    said = {"step": "join", "text": "copying the domain", "part": 0.3, "done": False, "error": None}
    (places / "LAST").write_text(json.dumps(said))
    assert telling._state(first=True) == said
    (places / "LAST").write_text("{")
    (places / "SEED").touch()
    assert telling._state(first=True)["step"] == "boot"
