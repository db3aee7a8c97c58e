"""git: its own daemon, a commit with a new document every few turns, fetched into a clone or cloned afresh."""

import shutil
import subprocess
from pathlib import Path

from appliance.lab.listening import start
from appliance.lab.network import Lab
from appliance.lab.repository import AUTHOR, BRANCH, PORT, clean
from appliance.lab.soak import programs
from appliance.lab.soak.documents import document
from appliance.lab.soak.turn_error import TurnError
from appliance.lab.tools import LabError, find

COMMITS = 12  # of one repository; then there is another one
CLONE_EVERY = 4  # turns


class Git:
    name = "git"

    def __init__(self, lab: Lab, directory: Path, first: int) -> None:
        self._client = lab.client
        self._served, self._clone = directory / "served", directory / "clone"
        self._served.mkdir()
        self._repository = self._served / "project.git"
        self._next = first
        self._turns = 0
        argv = [find("git"), "-c", "safe.directory=*", "daemon", "--export-all", "--reuseaddr"]
        argv += [f"--base-path={self._served}", f"--port={PORT}", str(self._served)]
        self._url = f"git://{lab.server.v4}/{self._repository.name}"
        start(lab.server, argv, PORT, directory / "log", clean())

    def turn(self) -> int:
        anew = self._turns % COMMITS == 0
        if anew:
            shutil.rmtree(self._repository, ignore_errors=True)
            self._local("init", "--quiet", "--bare", "--initial-branch=main", str(self._repository))
        self._commit(first=anew)
        if self._turns % CLONE_EVERY == 0:
            shutil.rmtree(self._clone, ignore_errors=True)
            self._remote("clone", "--quiet", "--bare", self._url, str(self._clone))
        else:
            self._remote(f"--git-dir={self._clone}", "fetch", "--quiet", self._url, "main:main")
        self._turns += 1
        return self._compare()

    def _commit(self, *, first: bool) -> None:
        content = document(self._next)
        name = b"document-%d" % (self._next % 4)
        self._next += 1
        script = b"commit %s\ncommitter %s\ndata 0\n" % (BRANCH.encode(), AUTHOR)
        script += b"" if first else b"from %s^0\n" % BRANCH.encode()
        script += b"M 100644 inline %s\ndata %d\n%s\n" % (name, len(content), content)
        self._local(f"--git-dir={self._repository}", "fast-import", "--quiet", text=script)

    def _compare(self) -> int:
        """Bytes of all files of the last commit; git has checked the hash of each object that it received."""
        sizes, commits = [], []
        for where in (self._repository, self._clone):
            commits.append(self._local(f"--git-dir={where}", "rev-parse", BRANCH))
            listing = self._local(f"--git-dir={where}", "ls-tree", "-r", "--long", BRANCH)
            sizes.append(sum(int(line.split()[3]) for line in listing.splitlines()))
        if commits[0] != commits[1]:
            raise TurnError(f"the clone is at {commits[1]!r}, the repository at {commits[0]!r}", wrong=True)
        return sizes[0]

    def _remote(self, *words: str) -> None:
        programs.run(self._client, [find("git"), *words], env=clean())

    def _local(self, *words: str, text: bytes = b"") -> bytes:
        argv = [find("git"), "-c", "safe.directory=*", *words]
        done = subprocess.run(argv, input=text, capture_output=True, env=clean())
        if done.returncode:
            raise LabError(f"{' '.join(argv)}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def close(self) -> None:
        """Every turn has its own connection."""
