"""The directory's real system, as `branchline vm build directory` makes it.

    python -m tests.vm.image

fetches its Debian packages, once: the tests have a network of their own, from which no mirror is reached.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from vmhost.directory import bundle as bundles

BASE = Path(__file__).parents[2] / ".cache" / "vm" / "directory.tar"


def build(bundle: Path, key: Path, made: int) -> Path:
    """A bundle from the packages in BASE, of the version of `made` seconds since 1970: 10 to 20 s."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "appliance.cli",
            "vm",
            "build",
            "directory",
            bundle,
            "--key",
            key,
            "--base",
            BASE,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(made)},
    )
    assert done.returncode == 0, f"{done.stderr}\nhas .ci/setup guest been run?"
    return bundle


def newer(bundle: Path, target: Path, version: str, key: Path, /, **content: bytes) -> Path:
    """A bundle like `bundle`, of another version, and with other files."""
    shutil.copytree(bundle, target)
    for name, data in content.items():
        (target / name).write_bytes(data)
    files = {name: bundles.measure(target / name) for name in bundles.FILES}
    bundles.write(target, msgspec.structs.replace(bundles.taken(bundle), version=version, files=files), key)
    return target


if __name__ == "__main__":
    from vmhost.directory.packages import choose, installed

    BASE.parent.mkdir(parents=True, exist_ok=True)
    installed(choose("x86-64"), BASE, print)
