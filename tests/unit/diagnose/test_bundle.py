"""The file that is made, and what it says of what it lacks."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from appliance.diagnose.box import Box, MissingError
from appliance.diagnose.bundle import MOST_BYTES, write
from appliance.diagnose.processes import daemons, figures, role
from appliance.diagnose.redaction import Scrubber


def content(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        files = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        assert all(member.mode == 0o600 for member in archive.getmembers())
        return {name.split("/", 1)[1]: file.read() for name, file in files.items() if file is not None}


def gone() -> str:
    raise MissingError("nobody answers")


def broken() -> str:
    raise ValueError("it is no JSON")


def test_a_bundle_has_what_could_be_had_and_says_what_not(tmp_path: Path) -> None:
    path = tmp_path / "b.tar.gz"
    parts = write(
        path,
        {
            "a.txt": lambda: "the passphrase is hunter2hunter2",
            "b.txt": gone,
            "c.txt": broken,
            "d.txt": lambda: "a" + "hunter2hunter2" + "x" * (MOST_BYTES - 5),
            "e.json": lambda: json.dumps(["x"] * MOST_BYTES),
        },
        Scrubber([b"hunter2hunter2"]),
        0.0,
    )
    assert path.stat().st_mode & 0o777 == 0o600
    files = content(path)
    assert set(files) == {"a.txt", "d.txt", "e.json", "parts.json", "README.txt"}
    assert files["a.txt"] == b"the passphrase is (removed)"
    assert files["d.txt"] == b"(its beginning was cut off)\noved)" + b"x" * (MOST_BYTES - 5)
    assert len(json.loads(files["e.json"])) == MOST_BYTES
    listed = {part["name"]: part["missing"] for part in json.loads(files["parts.json"])}
    assert listed == {part.name: part.missing for part in parts}
    assert listed["a.txt"] == ""
    assert listed["b.txt"] == "nobody answers"
    assert "no JSON" in listed["c.txt"]


def test_nothing_is_overwritten_and_half_a_bundle_does_not_stay(tmp_path: Path) -> None:
    path = tmp_path / "b.tar.gz"

    def interrupted() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(path, {"a.txt": interrupted}, Scrubber([]), 0.0)
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        write(path, {}, Scrubber([]), 0.0)
    assert path.read_text() == "mine"


def test_a_box_that_is_dead_and_has_no_file(tmp_path: Path) -> None:
    box = Box(tmp_path / "control.sock", tmp_path / "branchline.toml")
    for name, read in box.parts().items():
        if name not in {
            "cache.json",
            "events.json",
            "peers-d.json",
        }:  # those look where boxes usually keep them
            with pytest.raises(MissingError, match=r"control\.sock|branchline\.toml"):
                read()
    assert box.secrets() == []


def test_a_file_with_mistakes_is_shown_without_its_secrets(tmp_path: Path) -> None:
    file = tmp_path / "branchline.toml"
    state = tmp_path / "state"
    state.mkdir()
    (state / "events.jsonl").write_text('{"kind": "peer.down", "text": "gone"}\n')
    file.write_text(f'[box]\nid = "b"\nkey = "box.key"\nnonsense = 1\nstate_dir = "{state}"\n')
    (tmp_path / "peers.d").mkdir()
    (tmp_path / "peers.d" / "b7.toml").write_text('[[peers]]\nid = "b7"\nkey = "much too short"\n')
    box = Box(tmp_path / "control.sock", file)
    parts = box.parts()
    assert json.loads(parts["peers-d.json"]()) == {"b7.toml": {"peers": [{"id": "b7", "key": "(removed)"}]}}
    assert json.loads(parts["config-file.json"]()) == {
        "box": {"id": "b", "key": "(removed)", "nonsense": 1, "state_dir": str(state)}
    }
    assert json.loads(parts["events.json"]()) == {"kind": "peer.down", "text": "gone"}
    assert json.loads(parts["cache.json"]()) == []
    assert {str(tmp_path / name).encode() for name in ("box.key", "box.key.next")} <= set(box.secrets())


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python -m appliance.control /etc/b.toml", "control"),
        ("python -m appliance.data /etc/b.toml", "data"),
        ("python -m appliance.data state/b.json /etc/b.toml 1", "data"),
        ("python -m appliance.data state/b.json /etc/b.toml 2 ", "data-2"),
        ("/opt/branchline/bin/python /opt/branchline/bin/branchline run /etc/b.toml", "supervisor"),
        ("python -m appliance.cli run /etc/b.toml", "supervisor"),
        ("branchline diagnose", ""),
        ("vi appliance.data.txt", ""),
        ("", ""),
    ],
)
def test_daemons_are_known_by_their_command_lines(command: str, name: str) -> None:
    assert role(command.encode().split(b" ")) == name


def test_the_figures_of_a_process_say_nothing_of_its_environment() -> None:
    os.environ["BRANCHLINE_TEST_SECRET"] = "not for others"
    try:
        text = figures(os.getpid())
    finally:
        del os.environ["BRANCHLINE_TEST_SECRET"]
    assert "VmRSS" in text
    assert "== descriptors" in text
    assert "not for others" not in text
    assert os.getpid() not in daemons().values()
