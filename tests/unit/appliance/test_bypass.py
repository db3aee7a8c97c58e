"""Bypass: what is switched off, and that it is remembered."""

from pathlib import Path

import pytest

from appliance.bypass import Bypass
from appliance.config import load

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_switching() -> None:
    state = Bypass().switched(True, peer="dc").switched(True, rule="web")
    assert state.describe() == {"all": False, "peers": ["dc"], "rules": ["web"]}
    assert state.covers("dc")
    assert not state.covers("dc2")
    assert state.switched(False, peer="dc").describe() == {"all": False, "peers": [], "rules": ["web"]}
    everything = state.switched(True)
    assert everything.covers("dc2")
    assert not everything.switched(False), "off means nothing is bypassed any more"


def test_it_outlives_the_process(tmp_path: Path) -> None:
    assert Bypass.load(tmp_path) == Bypass()
    state = Bypass(peers=frozenset({"dc"}))
    state.save(tmp_path)
    assert Bypass.load(tmp_path) == state
    assert Bypass.from_dict(state.describe()) == state


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"all": 3}', b"\xff"])
def test_a_file_that_is_something_else_is_never_taken_for_no_bypass(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bypass.json").write_bytes(content)
    with pytest.raises(ValueError, match="delete it"):
        Bypass.load(tmp_path)


def test_what_the_configuration_no_longer_knows() -> None:
    config = load(EXAMPLES / "branch.toml", files=False)
    state = Bypass(peers=frozenset({"dc", "gone"}), rules=frozenset({"files", "old"}))
    assert state.within(config) == Bypass(peers=frozenset({"dc"}), rules=frozenset({"files"}))
