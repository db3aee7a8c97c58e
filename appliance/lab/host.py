"""One machine of the lab: a network namespace, and ways to run things inside it."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from appliance.lab import namespace
from appliance.lab.tools import find

P = ParamSpec("P")
T = TypeVar("T")

PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class Host:
    """A namespace with its addresses. Everything started through it ends with the lab.

    name: client, branch, wan, dc or server. netns: path that `nsenter --net=` takes.
    v4, v6: the primary addresses (for the boxes: on their LAN side).
    """

    def __init__(self, name: str, netns_name: str, v4: str, v6: str) -> None:
        self.name = name
        self.netns_name = netns_name
        self.netns = namespace.path_of(netns_name)
        self.v4 = v4
        self.v6 = v6
        self._children: list[subprocess.Popen[Any]] = []

    def __repr__(self) -> str:
        return f"Host({self.name}, {self.netns})"

    def address(self, family: socket.AddressFamily) -> str:
        return self.v6 if family == socket.AF_INET6 else self.v4

    def _argv(self, argv: Sequence[str]) -> list[str]:
        # nsenter execs in place: the pid that Popen shows is the command's own.
        return [find("nsenter"), f"--net={self.netns}", "--", *argv]

    def run(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """subprocess.run inside the namespace, with the same options."""
        return subprocess.run(self._argv(argv), **options)

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """subprocess.Popen inside the namespace, in a session of its own (a Ctrl-C is the lab's to handle)."""
        options.setdefault("start_new_session", True)
        child = subprocess.Popen(self._argv(argv), **options)
        self._children.append(child)
        return child

    def python(self, module: str, *args: str, **options: Any) -> subprocess.Popen[Any]:
        """popen of `python -m module args`, with this very copy of Branchline to import from."""
        options["env"] = python_environment(options.get("env"))
        return self.popen([sys.executable, "-m", module, *args], **options)

    def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run fn in a throw-away thread inside the namespace (half a millisecond) and return its result."""
        return namespace.call(self.netns, fn, *args, **kwargs)

    def thread(self, fn: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> threading.Thread:
        """Run fn in a daemon thread inside the namespace and return at once; for servers."""
        thread = threading.Thread(
            target=namespace.call,
            args=(self.netns, fn, *args),
            kwargs=kwargs,
            name=f"{self.name}: {getattr(fn, '__name__', fn)}",
            daemon=True,
        )
        thread.start()
        return thread

    def socket(
        self,
        family: socket.AddressFamily = socket.AF_INET,
        kind: socket.SocketKind = socket.SOCK_STREAM,
        protocol: int = 0,
    ) -> socket.socket:
        """A new socket of this namespace, usable from any thread."""
        return self.call(socket.socket, family, kind, protocol)

    def read(self, path: str) -> str:
        """A file of /proc/sys/net or /proc/thread-self/net as seen from inside."""
        return self.call(Path(path).read_text)

    def sysctl(self, name: str, value: object) -> None:
        """Set net.… inside the namespace; raises OSError when the kernel refuses the value."""
        path = Path("/proc/sys") / name.replace(".", "/")
        self.call(path.write_text, f"{value}\n")

    def reap(self) -> None:
        """Collect what is dead; the lab calls this after it has killed everything in the namespace."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe is not None and not pipe.closed:
                    pipe.close()
        self._children.clear()


def python_environment(base: dict[str, str] | None = None) -> dict[str, str]:
    """Environment in which `python -m appliance…` finds this copy of the package, from any directory."""
    env = dict(os.environ if base is None else base)
    before = env.get("PYTHONPATH")
    env["PYTHONPATH"] = f"{PACKAGE_ROOT}{os.pathsep}{before}" if before else str(PACKAGE_ROOT)
    return env
