"""Real content for the demonstration: successive releases from the Python package index, as plain tar files."""

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.lab.tools import LabError

# The same wheels on every machine, whatever it runs itself.
PLATFORM = ["--platform", "manylinux2014_x86_64", "--python-version", "311", "--implementation", "cp"]


@dataclass(frozen=True)
class Release:
    """A wheel by its name and version."""

    name: str
    version: str

    @property
    def tar(self) -> str:
        return f"{self.name.lower()}-{self.version}.tar"


DJANGO = (Release("Django", "4.2.1"), Release("Django", "4.2.2"))
NUMPY = (Release("numpy", "1.26.3"), Release("numpy", "1.26.4"))


def fetch(release: Release, directory: Path, report: Callable[[str], None]) -> Path:
    """The release's files as one uncompressed tar in `directory`, made once; LabError when it cannot be had."""
    tar = directory / release.tar
    if not tar.exists():
        directory.mkdir(parents=True, exist_ok=True)
        report(f"fetching {release.name} {release.version} with pip")
        unpack(_download(release, directory), tar)
    return tar


def _download(release: Release, directory: Path) -> Path:
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    argv += ["--only-binary=:all:", *PLATFORM, "--dest", str(directory), f"{release.name}=={release.version}"]
    done = subprocess.run(argv, capture_output=True, text=True)
    wheels = sorted(directory.glob(f"{release.name}-{release.version}-*.whl"))
    if done.returncode != 0 or not wheels:
        raise LabError(f"pip could not fetch {release.name} {release.version}: {done.stderr.strip()}")
    return wheels[0]


def unpack(wheel: Path, tar: Path) -> None:
    """The same bytes every time: members in order of their names, no times, no owners."""
    half_done = tar.with_suffix(".part")
    with (
        zipfile.ZipFile(wheel) as source,
        tarfile.open(half_done, "w", format=tarfile.USTAR_FORMAT) as target,
    ):
        for member in sorted(source.infolist(), key=lambda info: info.filename):
            if member.is_dir():
                continue
            header = tarfile.TarInfo(member.filename)
            header.size = member.file_size
            header.mode = 0o644
            with source.open(member) as content:
                target.addfile(header, content)
    half_done.replace(tar)
