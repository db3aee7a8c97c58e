"""One round of checks in a process of its own, so that who asks stays small, responsive and where it is."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import msgspec

from vmhost.health import tool
from vmhost.health.result import Result, printed
from vmhost.health.target import Target

_MOST_QUESTIONS = 5  # one after another, in a round in which each takes all its time
_START_S = 10.0


async def check(
    target: Target, *, namespace: Path | None = None, scratch: Path | None = None
) -> list[Result]:
    """Ask `target`, from a network namespace if one is given (/run/netns/NAME). Never raises, always ends.

    `scratch` is where tickets and a copy of the password are while it lasts: best in memory.
    """
    entered = () if namespace is None else ("nsenter", f"--net={namespace}")
    try:
        # Made here, so that nothing of it is left if the process has to be ended.
        with tempfile.TemporaryDirectory(prefix="branchline-health-", dir=scratch) as directory:
            said = await tool.run(
                *(*entered, sys.executable, "-m", "vmhost.health"),
                within=_MOST_QUESTIONS * target.within + _START_S,
                env={"TMPDIR": directory},
                typed=msgspec.json.encode(target).decode(),
            )
    except OSError as error:
        where = scratch or tempfile.gettempdir()
        return [_not_made(f"{where}: {error.strerror}", 0.0, f"see that files can be written in {where}")]
    if said.status == 0:
        return [printed(one) for one in msgspec.json.decode(said.out, type=list[Result])]
    last = said.err.strip().rpartition("\n")[2] if said.status is not None else said.complaint
    return [_not_made(last[:300], said.seconds, "see whether the box is overloaded")]


def _not_made(why: str, seconds: float, remedy: str) -> Result:
    evidence = f"the checks could not be made: {why}"
    return Result(name="round", ok=False, latency=seconds * 1000, evidence=evidence, remedy=remedy)
