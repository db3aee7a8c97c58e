"""Kernel settings: what was there before comes back, also after a crash."""

from pathlib import Path

import pytest

from appliance.control.sysctls import Sysctls

WANTED = {"net.ipv4.ip_forward": "1", "net.ipv4.tcp_early_demux": "0"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree like /proc/sys."""
    directory = tmp_path / "sys" / "net" / "ipv4"
    directory.mkdir(parents=True)
    (directory / "ip_forward").write_text("0\n")
    (directory / "tcp_early_demux").write_text("0\n")
    return tmp_path / "sys"


def forward(root: Path) -> str:
    return (root / "net" / "ipv4" / "ip_forward").read_text().strip()


def test_only_what_differs_is_touched_and_put_back(root: Path, tmp_path: Path) -> None:
    sysctls = Sysctls(WANTED, tmp_path / "memory", root)
    assert sysctls.ensure() == ["net.ipv4.ip_forward"]
    assert forward(root) == "1"
    assert sysctls.ensure() == []
    (root / "net" / "ipv4" / "tcp_early_demux").write_text("7")
    assert sysctls.ensure() == ["net.ipv4.tcp_early_demux"]
    sysctls.restore()
    assert forward(root) == "0"
    assert not (tmp_path / "memory").exists()
    sysctls.restore()
    assert forward(root) == "0"


def test_one_that_cannot_be_put_back_keeps_no_other_from_it(root: Path, tmp_path: Path) -> None:
    (root / "net" / "ipv4" / "tcp_early_demux").write_text("1")
    for stuck, other in (("ip_forward", "tcp_early_demux"), ("tcp_early_demux", "ip_forward")):
        sysctls = Sysctls(WANTED, tmp_path / "memory", root)
        sysctls.ensure()
        setting = root / "net" / "ipv4" / stuck
        before = setting.read_text()
        setting.unlink()
        setting.mkdir()
        with pytest.raises(IsADirectoryError):
            sysctls.restore()
        assert (root / "net" / "ipv4" / other).read_text() != WANTED[f"net.ipv4.{other}"]
        assert (tmp_path / "memory").exists(), "for another try"
        setting.rmdir()
        setting.write_text(before)
        sysctls.restore()


def test_a_process_that_comes_after_a_crash_knows_what_was_before(root: Path, tmp_path: Path) -> None:
    Sysctls(WANTED, tmp_path / "memory", root).ensure()
    after = Sysctls(WANTED, tmp_path / "memory", root)
    (root / "net" / "ipv4" / "ip_forward").write_text("2")
    after.ensure()
    after.restore()
    assert forward(root) == "0", "not 2, and not our own 1"


def test_a_memory_that_is_garbage_is_not_believed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "memory").write_text("x")
    sysctls = Sysctls(WANTED, tmp_path / "memory", root)
    sysctls.ensure()
    sysctls.restore()
    assert forward(root) == "0"


def test_a_setting_that_the_kernel_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Sysctls({"net.none": "1"}, tmp_path / "memory", tmp_path).ensure()
