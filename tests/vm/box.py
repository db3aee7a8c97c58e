"""A box with virtual machines: a libvirtd of its own and a control plane, as processes. All of it ends with pytest.

The processes run in the namespaces that conftest has made, with /run, /etc/libvirt and /var/*/libvirt of their own.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from appliance.identity import create
from appliance.rpc import Client, RpcError, UnreachableError
from vmhost.directory import signing
from vmhost.processes import resident

DEADLINE_S = 180.0
SMALL = 64_000_000
"""Bytes of memory that the control plane may have, however long it has lived."""
SOCKET = Path("/run/libvirt/libvirt-sock")
BRIDGE = "lan0"


def until(condition: Callable[[], bool], what: str) -> None:
    """Poll `condition` up to the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class VmBox:
    """Its files are in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "run" / "control.sock"
        self._libvirtd: subprocess.Popen[bytes] | None = None
        self._control: subprocess.Popen[bytes] | None = None
        for name in ("run", "state"):
            (directory / name).mkdir()
        create(directory / "box.key")
        self.build_key = directory / "build.key"
        trusted = signing.create(self.build_key)
        (directory / "box.toml").write_text(
            f"""
[box]
id = "branch-1"
lan = ["{BRIDGE}"]
wan = ["wan0"]
prefixes = ["10.1.0.0/16"]
key = "{directory}/box.key"
state_dir = "{directory}/state"
run_dir = "{directory}/run"

[vm]
libvirt = "qemu+unix:///system?socket={SOCKET}"
trusted_keys = ["{trusted}"]
"""
        )

    def start_libvirtd(self) -> None:
        """Start it and wait until it serves."""
        SOCKET.unlink(missing_ok=True)
        with (self.directory / "libvirtd.log").open("ab") as log:
            self._libvirtd = subprocess.Popen(["nice", "-n", "10", "libvirtd"], stdout=log, stderr=log)
        until(SOCKET.exists, "libvirtd serves")

    def signal_libvirtd(self, number: signal.Signals) -> None:
        """SIGSTOP hangs it, SIGCONT lets it go on."""
        assert self._libvirtd is not None
        self._libvirtd.send_signal(number)

    def kill_libvirtd(self) -> None:
        """As the out-of-memory killer would. Guests go on."""
        self._end(self._libvirtd)

    def start_control(self) -> None:
        """Start the control plane and wait until it serves and has libvirt's ear."""
        with (self.directory / "control.log").open("ab") as log:
            self._control = subprocess.Popen(
                [sys.executable, "-m", "appliance.control", str(self.directory / "box.toml")],
                stdout=log,
                stderr=log,
            )
        until(self.serves, "control serves")

    def kill_control(self) -> None:
        """kill -9."""
        self.must_be_small()
        self._end(self._control)

    def open_files(self) -> int:
        """How many control has."""
        assert self._control is not None
        return len(os.listdir(f"/proc/{self._control.pid}/fd"))

    def must_be_small(self) -> None:
        """Whatever control has had to do; -s shows how small."""
        assert self._control is not None
        size = resident(self._control.pid)
        print(f"control plane: {size / 1e6:.1f} MB")
        assert size <= SMALL

    def close(self) -> None:
        """End whatever of it runs; after the last use."""
        for process in (self._control, self._libvirtd):
            if process is not None:
                self._end(process)

    def _end(self, process: subprocess.Popen[bytes] | None) -> None:
        assert process is not None
        process.kill()
        process.wait()

    def serves(self) -> bool:
        """Whether control answers, and has libvirt's ear."""
        try:
            return bool(self.call("vm_host")["libvirt"]["up"])
        except UnreachableError:
            return False

    def call(self, method: str, **params: object) -> Any:
        """A request of the control socket."""
        with Client(self.socket, timeout=DEADLINE_S) as client:
            return client.call(method, **params)

    def begin(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """`branchline vm …`, joined by pipes."""
        return subprocess.Popen(
            [sys.executable, "-m", "appliance.cli", "vm", *map(str, arguments), "--socket", str(self.socket)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def vm(self, *arguments: str | Path, fails: bool = False) -> str:
        """`branchline vm …` of this box: what it says on standard output, or on standard error if it `fails`."""
        return self.run(*arguments, "--socket", self.socket, fails=fails)

    def run(self, *arguments: str | Path, fails: bool = False) -> str:
        """`branchline vm …` that asks no box."""
        done = subprocess.run(
            [sys.executable, "-m", "appliance.cli", "vm", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE_S,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    def states(self) -> dict[str, str]:
        """Of all machines, as `branchline vm list --json` says."""
        lines = self.vm("list", "--json").splitlines()
        return {one["name"]: one["state"] for one in map(json.loads, lines)}

    def known(self, name: str) -> bool:
        """Whether control has looked through libvirtd's machines, and `name` is one of them."""
        try:
            self.call("vm_stats", name=name)
        except RpcError:
            return False
        return True

    def kinds(self, since: float) -> list[str]:
        """Kinds of events after that moment."""
        return [event["kind"] for event in self.call("events", since=since)]

    def emulator(self, name: str) -> int:
        """Pid of a machine's QEMU."""
        return int(Path(f"/run/libvirt/qemu/{name}.pid").read_text())

    @contextlib.contextmanager
    def libvirt(self) -> Iterator[Any]:
        """A connection of one's own to its libvirtd."""
        import libvirt

        connection = libvirt.open(f"qemu+unix:///system?socket={SOCKET}")
        try:
            yield connection
        finally:
            connection.close()

    def stop_child(self, *command: str) -> None:
        """Waits until control runs a program with such an argument, which does nothing more from then on."""
        assert self._control is not None
        children = Path(f"/proc/{self._control.pid}/task/{self._control.pid}/children")

        def is_stopped() -> bool:
            for pid in children.read_text().split():
                with contextlib.suppress(OSError):  # it has ended
                    if set(command) <= set(Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:3]):
                        os.kill(int(pid), signal.SIGSTOP)
                        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "T"
            return False

        until(is_stopped, f"control runs {command}, which is stopped")

    def hears(self, name: str, wanted: str, typed: str = "") -> str:
        """Waits until the guest's console has said `wanted`; the line from there on. `typed` is typed first."""
        device = os.open(self.call("vm_console", name=name)["device"], os.O_RDWR | os.O_NOCTTY)
        try:
            termios.tcflush(device, termios.TCIFLUSH)  # half a line, of which nobody has read the rest
            os.write(device, typed.encode())
            said, deadline = b"", time.monotonic() + DEADLINE_S
            while True:
                assert time.monotonic() < deadline, f"the guest says {wanted}; it said {said!r}"
                os.set_blocking(device, False)
                try:
                    said += os.read(device, 4096)
                except BlockingIOError:
                    time.sleep(0.05)
                for line in said.decode(errors="replace").splitlines(keepends=True):
                    if wanted in line and line.endswith("\n"):
                        return line[line.rindex(wanted) :].rstrip()
        finally:
            os.close(device)

    def recipe(
        self,
        name: str,
        image: Path,
        *,
        autostart: bool = False,
        stop_within: str = "60s",
        bridge: str = BRIDGE,
        vcpus: int = 1,
        empty: str = "",
        second: Path | None = None,
    ) -> Path:
        """A recipe of the tiny guest; `empty` is the size of a second disk, or `second` its image."""
        file = self.directory / f"{name}.toml"
        data = f'size = "{empty}"' if empty else f'image = "{second}"'
        disks = f'[[disks]]\nname = "data"\n{data}\n' if empty or second else ""
        file.write_text(
            f'name = "{name}"\nmemory = "96MiB"\nvcpus = {vcpus}\nstop_within = "{stop_within}"\n'
            f"autostart = {str(autostart).lower()}\n"
            f'[[disks]]\nname = "system"\nimage = "{image}"\n{disks}[[networks]]\nbridge = "{bridge}"\n'
        )
        return file
