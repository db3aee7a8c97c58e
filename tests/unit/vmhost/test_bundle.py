"""Only what a trusted key has signed is taken, wholly or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from vmhost.directory import bundle, signing
from vmhost.errors import VmError


@pytest.fixture
def key(tmp_path: Path) -> Path:
    signing.create(tmp_path / "build.key")
    return tmp_path / "build.key"


@pytest.fixture
def made(tmp_path: Path, key: Path) -> Path:
    directory = tmp_path / "bundle"
    directory.mkdir()
    for name, content in (("system", b"s" * 3_000_000), ("vmlinuz", b"k" * 100), ("initrd", b"i")):
        (directory / name).write_bytes(content)
    manifest = bundle.Manifest(
        version="20260102T030405Z",
        arch="x86-64",
        debian="bookworm",
        kernel_arguments="quiet",
        packages={"samba": "2:4.17"},
        files={name: bundle.measure(directory / name) for name in bundle.FILES},
    )
    bundle.write(directory, manifest, key)
    return directory


def test_what_is_signed_is_taken(made: Path, key: Path, tmp_path: Path) -> None:
    told: list[float] = []
    manifest = bundle.read(made, [signing.public(key)])
    bundle.take(made, manifest, tmp_path / "slot", told.append)
    names = {*bundle.FILES, bundle.MANIFEST, bundle.SIGNATURE}
    assert {path.name for path in (tmp_path / "slot").iterdir()} == names
    for name in names:
        assert (tmp_path / "slot" / name).read_bytes() == (made / name).read_bytes()
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert bundle.read(tmp_path / "slot", [signing.public(key)]) == manifest
    assert bundle.size(manifest) == 3_000_101


def _truncate(made: Path) -> None:
    os.truncate(made / "system", 2_000_000)


def _grow(made: Path) -> None:
    with (made / "system").open("ab") as file:
        file.write(b"s")


def _tamper(made: Path) -> None:
    with (made / "system").open("r+b") as file:
        file.seek(1_500_000)
        file.write(b"t")


def _hang(made: Path) -> None:
    (made / "initrd").unlink()
    os.mkfifo(made / "initrd")


def _ask_for_a_shell(made: Path) -> None:
    manifest = made / bundle.MANIFEST
    manifest.write_bytes(manifest.read_bytes().replace(b'"quiet"', b'"init=/bin/sh"'))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_ask_for_a_shell, "has changed while it was read"),
        (_truncate, "system is not the file"),
        (_grow, "system is not the file"),
        (_tamper, "system is not the file"),
        (_hang, "initrd is no file"),
        (lambda made: (made / "vmlinuz").unlink(), "No such file"),
    ],
)
def test_a_file_that_is_not_the_signed_one(
    made: Path, key: Path, tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    manifest = bundle.read(made, [signing.public(key)])
    change(made)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(VmError, match=said):
        bundle.take(made, manifest, tmp_path / "slot", lambda _: None)
    assert sorted(tmp_path.iterdir()) == before


def test_a_manifest_that_nobody_trusted_has_signed(made: Path, key: Path, tmp_path: Path) -> None:
    foreign = signing.create(tmp_path / "foreign.key")
    for trusted in ([], [foreign]):
        with pytest.raises(VmError, match=r"not signed by a key that this box trusts"):
            bundle.read(made, trusted)
    assert bundle.read(made, [foreign, signing.public(key)]).version == "20260102T030405Z"
    manifest = made / bundle.MANIFEST
    manifest.write_bytes(manifest.read_bytes().replace(b"2026", b"2027"))
    with pytest.raises(VmError, match=r"not signed"):
        bundle.read(made, [signing.public(key)])
    (made / bundle.SIGNATURE).write_bytes(b"")
    with pytest.raises(VmError, match=r"not signed"):
        bundle.read(made, [signing.public(key)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 2 is not known"),
        ({"kind": "router"}, "of another release"),
        ({"version": "2026"}, "of another release"),
        ({"files": {"../system": {"size": 1, "sha256": "0" * 64}}}, "not known"),
        ({"files": {"system": {"size": 1, "sha256": "nonsense"}}}, "of another release"),
    ],
)
def test_a_signed_manifest_of_another_kind(
    made: Path, key: Path, change: dict[str, object], said: str
) -> None:
    tree = msgspec.json.decode((made / bundle.MANIFEST).read_bytes())
    content = msgspec.json.encode({**tree, **change})
    (made / bundle.MANIFEST).write_bytes(content)
    (made / bundle.SIGNATURE).write_bytes(signing.sign(content, key))
    with pytest.raises(VmError, match=said):
        bundle.read(made, [signing.public(key)])


def test_keys(key: Path, tmp_path: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        signing.create(key)
    assert signing.BundleKey.parse(str(signing.public(key))) == signing.public(key)
    for wrong in ("", "AAAA", "not base64!", 7):
        with pytest.raises(ValueError, match="is not a key of bundles"):
            signing.BundleKey.parse(wrong)
    (tmp_path / "nonsense").write_text("nonsense")
    for path, said in ((tmp_path / "nonsense", "is not an Ed25519 key"), (tmp_path / "none", "vm build key")):
        with pytest.raises(VmError, match=said):
            signing.sign(b"", path)
