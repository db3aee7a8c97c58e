"""A small file is there as before or wholly new, and nobody else reads it on its way."""

import os
import stat
from pathlib import Path

import pytest

from vmhost import durable


def test_what_lies_in_the_way_is_not_written_into(tmp_path: Path) -> None:
    """A link there would have the secret written to where somebody can read it."""
    file, elsewhere = tmp_path / "secret", tmp_path / "elsewhere"
    (tmp_path / "secret.new").symlink_to(elsewhere)
    durable.replace(file, b"password", mode=0o600)
    assert file.read_bytes() == b"password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["secret"]


def test_a_try_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "kept").touch()
    with pytest.raises(OSError, match="Is a directory"):
        durable.replace(tmp_path / "record", b"new")
    assert os.listdir(tmp_path) == ["record"]
