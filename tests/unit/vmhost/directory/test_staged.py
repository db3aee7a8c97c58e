"""What may be staged, and the file it is written to."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vmhost.directory import staged


@pytest.mark.parametrize(
    ("check", "good"),
    [
        (staged.host, "br-1"),
        (staged.host, "a" * 15),
        (staged.site, "Branch-1"),
        (staged.address, "10.1.0.10/24"),
        (staged.address, "fd00::10/64"),
        (staged.address, "192.0.2.1/32"),
        (staged.subnet, "10.1.0.0/24"),
        (staged.resolver, "fd00::1"),
        (staged.server, "fd00::1"),
        (staged.server, "ntp.example.com"),
    ],
)
def test_what_is_taken_as_it_is(check: Callable[[str], str], good: str) -> None:
    assert check(good) == good


@pytest.mark.parametrize(
    ("check", "bad"),
    [
        (staged.host, ""),
        (staged.host, "a" * 16),
        (staged.host, "1a"),
        (staged.host, "a-"),
        (staged.host, "a$"),
        (staged.host, "a\n"),
        (staged.site, "a,b"),
        (staged.site, "-"),
        (staged.realm, "example"),
        (staged.realm, "ad..example"),
        (staged.realm, "ad.example\n"),
        (staged.address, "10.1.0.10"),
        (staged.address, "10.1.0.0/24"),
        (staged.address, "10.1.0.256/24"),
        (staged.address, "fe80::1%x\ny/64"),
        (staged.subnet, "10.1.0.1/24"),
        (staged.resolver, "fe80::1%eth0"),
        (staged.server, "-a"),
    ],
)
def test_what_is_refused(check: Callable[[str], str], bad: str) -> None:
    with pytest.raises(ValueError):
        check(bad)


def test_a_realm_is_in_capitals() -> None:
    assert staged.realm("ad.example") == "AD.EXAMPLE"


def test_the_file_is_for_its_owner_and_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "br1.stage"
    staged.write(file, {"password": "first"}, again=False)
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        staged.write(file, {"password": "second"}, again=False)
    assert "first" in file.read_text()
    staged.write(file, {"password": "second"}, again=True)
    assert "second" in file.read_text()
    assert list(tmp_path.iterdir()) == [file]


def test_who_waits_for_the_password_where_it_is_written_gets_nothing(tmp_path: Path) -> None:
    file, trap = tmp_path / "br1.stage", tmp_path / "trap"
    trap.touch()
    (tmp_path / "br1.stage.new").symlink_to(trap)
    staged.write(file, {"password": "once"}, again=False)
    assert trap.read_text() == ""
    assert (file.stat().st_mode & 0o777, file.is_symlink()) == (0o600, False)
