"""A git server in the lab's data centre: one repository with a commit for each release, served by git itself."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from appliance.lab.host import Host
from appliance.lab.listening import start
from appliance.lab.tools import LabError, find

PORT = 9418
BRANCH = "refs/heads/main"
AUTHOR = b"Branchline <lab@branchline.invalid> 1700000000 +0000"


def make(directory: Path, tars: Sequence[Path]) -> Path:
    """A bare repository `directory` with a commit for each tar, packed; made once."""
    if directory.exists():
        return directory
    half_done = directory.with_suffix(".part")
    shutil.rmtree(half_done, ignore_errors=True)
    half_done.parent.mkdir(parents=True, exist_ok=True)
    git = [find("git"), f"--git-dir={half_done}"]
    _run([find("git"), "init", "--quiet", "--bare", "--initial-branch=main", str(half_done)])
    with subprocess.Popen([*git, "fast-import", "--quiet"], stdin=subprocess.PIPE, env=clean()) as importer:
        assert importer.stdin is not None
        for tar in tars:
            _write_commit(importer.stdin, tar)
    if importer.returncode != 0:
        raise LabError(f"git fast-import failed with status {importer.returncode}; its error is above")
    # With several threads a pack's bytes depend on which one is faster.
    _run([*git, "config", "pack.threads", "1"])
    _run([*git, "repack", "-a", "-d", "-f", "--quiet"])
    half_done.rename(directory)
    return directory


def _write_commit(stream: IO[bytes], tar: Path) -> None:
    """A commit that holds exactly the tar's files, in the format of git fast-import."""
    message = tar.stem.encode()
    stream.write(b"commit %s\ncommitter %s\n" % (BRANCH.encode(), AUTHOR))
    stream.write(b"data %d\n%s\ndeleteall\n" % (len(message), message))
    with tarfile.open(tar) as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            stream.write(b"M 100644 inline %s\ndata %d\n" % (member.name.encode(), member.size))
            stream.write(content.read() + b"\n")


def clean() -> dict[str, str]:
    """An environment in which nobody's git configuration counts."""
    return os.environ | {"HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}


def _run(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, env=clean())
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)} failed: {done.stderr.strip()}")


class GitServer:
    """`git daemon` on a host of the lab."""

    def __init__(self, host: Host, repository: Path, log: Path) -> None:
        argv = [find("git"), "-c", "safe.directory=*", "daemon", "--export-all", "--reuseaddr"]
        argv += [f"--base-path={repository.parent}", f"--port={PORT}", str(repository.parent)]
        self._repository = repository
        self.url = f"git://{host.v4}/{repository.name}"
        self._process = start(host, argv, PORT, log, clean())

    def clone(self, client: Host, into: Path) -> bool:
        """Clone without a work tree; True when it is the same commit (git checks every object it receives)."""
        argv = [find("git"), "clone", "--quiet", "--bare", self.url, str(into)]
        done = client.run(argv, capture_output=True, env=clean())
        return done.returncode == 0 and _head(into) == _head(self._repository)


def _head(repository: Path) -> str:
    argv = [find("git"), "-c", "safe.directory=*", f"--git-dir={repository}", "rev-parse", BRANCH]
    return subprocess.run(argv, capture_output=True, text=True, env=clean()).stdout
