"""What a bundle is made of: where packages come from, which are in it, the initrd."""

import gzip
import subprocess
from pathlib import Path

import pytest

from vmhost.directory import building, packages, signing, tree
from vmhost.directory.initrd import initrd
from vmhost.errors import VmError


def test_sources_are_those_of_the_machines_own_apt() -> None:
    targets = "\n".join(
        "\t".join(fields)
        for fields in (
            ("Debian", "bookworm", "http://a/debian/", "bookworm", "main"),
            ("Debian", "bookworm", "http://a/debian/", "bookworm", "main"),
            ("Debian", "bookworm-security", "http://a/security/", "bookworm-security", "main"),
            ("Debian", "trixie", "http://a/debian/", "trixie", "main"),
            ("Node", "bookworm", "http://b/", "bookworm", "main"),
            ("$(ORIGIN)", "$(CODENAME)", "http://c/", "x", "main"),
        )
    )
    assert packages.sources(targets, "bookworm") == (
        "deb http://a/debian/ bookworm main",
        "deb http://a/security/ bookworm-security main",
    )
    assert packages.sources("", "bookworm") == ()


def test_settings_are_those_of_the_machines_own_apt() -> None:
    dump = (
        'APT "";\nAcquire "";\nAcquire::http::Proxy "http://p:3128";\nAcquire::Languages:: "en";\n'
        'Acquire::Check-Valid-Until "false";\nAcquire::IndexTargets::deb::Packages::MetaKey "x";\n'
    )
    assert packages.settings(dump) == [
        'Acquire::http::Proxy "http://p:3128"',
        'Acquire::Check-Valid-Until "false"',
    ]


def test_only_what_is_installed_is_listed() -> None:
    status = (
        "Package: samba\nStatus: install ok installed\nVersion: 2:4.17\nDescription: a\n more: b\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n"
        "Package: bash\nStatus: install ok installed\nVersion: 5\n"
    )
    assert packages.versions(status) == {"bash": "5", "samba": "2:4.17"}


def test_an_initrd_is_what_cpio_reads(tmp_path: Path) -> None:
    files = {"init": b"#!/bin/sh\n", "bin/busybox": bytes(1001), "modules/a.ko": b"abc"}
    archive = initrd(files)
    assert archive == initrd(dict(reversed(files.items())))
    subprocess.run(
        ["cpio", "-id", "--quiet"],
        input=gzip.decompress(archive),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    for name, content in files.items():
        assert (tmp_path / name).read_bytes() == content
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o755
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == set(files)


def test_the_guests_first_program_is_a_shell_script() -> None:
    subprocess.run(["sh", "-n", tree.GUEST / "init"], check=True)


def test_a_build_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(target: Path, key: Path) -> str:
        with pytest.raises(VmError) as said:
            building.build(target, key, "x86-64", None, lambda *_: None)
        return str(said.value)

    key = tmp_path / "key"
    signing.create(key)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "run this as root" in refused(tmp_path / "a", key)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert "mmdebstrap is not installed; install the package mmdebstrap" in refused(tmp_path / "a", key)
    monkeypatch.setattr("shutil.which", lambda name: name)
    assert "is there already" in refused(tmp_path, key)
    assert "is no directory; make it first" in refused(tmp_path / "b" / "c", key)
    assert "`branchline vm build key" in refused(tmp_path / "a", tmp_path / "none")
