"""The program that works with python3-samba at the centre, asked by Branchline, whose own Python has none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from vmhost.errors import VmError

_ROOT = str(Path(__file__).parents[2])
# What is installed for Branchline's own Python must not hide what the system's programs use.
_RUN = "import runpy, sys; sys.path.append({root!r}); runpy.run_module({module!r}, run_name='__main__')"
_PROGRAM = "vmhost.directory.staging"


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """What the program answers; VmError with what is wrong."""
    command = [_python(), "-P", "-c", _RUN.format(root=_ROOT, module=_PROGRAM)]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip().splitlines() or ["it says nothing"]
        raise VmError("failed", f"the work at the centre has failed: {said[-1]}") from None
    if "error" in answer:
        raise VmError("refused", str(answer["error"]))
    return answer


def _python() -> str:
    """A Python that has Samba's modules."""
    for python in ("/usr/bin/python3", sys.executable):
        found = subprocess.run([python, "-P", "-c", "import samba.join"], capture_output=True, check=False)
        if found.returncode == 0:
            return python
    raise VmError(
        "refused",
        "this machine has not Samba's Python modules; `apt install python3-samba samba-dsdb-modules "
        "samba-ad-provision`, or run this on a controller of the centre",
    )
