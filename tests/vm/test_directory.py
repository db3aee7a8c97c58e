"""Making a directory on the box, with a guest that only says what a directory's machine would."""

from pathlib import Path

import pytest

from tests.vm.box import BRIDGE, VmBox
from tests.vm.tiny_bundle import tiny_bundle

VERSION = "20260101T000000Z"


def _create(box: VmBox, bundle: Path) -> str:
    """Of a new domain, which fails: why."""
    return box.vm(
        *("create", "directory", "--join", "new", "--realm", "ad.example", "--host", "dc1", "--site", "Here"),
        *("--address", "10.1.0.40/16", "--bundle", bundle, "--bridge", BRIDGE),
        *("--memory", "96MiB", "--data", "64MiB"),
        fails=True,
    )


@pytest.mark.parametrize(
    ("guest", "wrong"),
    [
        ({"error": "there is no domain"}, "directory: there is no domain"),
        ({"done": True}, "the machine says it serves, but this box finds otherwise: dns"),
    ],
)
def test_nothing_is_left_of_a_directory_that_fails(
    box: VmBox, vmlinuz: Path, tmp_path: Path, began: float, guest: dict[str, object], wrong: str
) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", box.build_key, vmlinuz, version=VERSION, **guest)
    assert wrong in _create(box, bundle)
    assert box.states() == {}
    assert list((box.directory / "state" / "vm").iterdir()) == []
    assert "vm.directory_failed" in box.kinds(began)


def test_a_bundle_of_somebody_else_is_not_booted(box: VmBox, vmlinuz: Path, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", box.build_key, vmlinuz, version=VERSION)
    (bundle / "manifest.json").write_text((bundle / "manifest.json").read_text().replace("none", "much"))
    assert "is not signed by a key that this box trusts" in _create(box, bundle)
    assert list((box.directory / "state" / "vm").iterdir()) == []
