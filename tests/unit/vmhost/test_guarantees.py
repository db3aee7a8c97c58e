"""Where the kernel weighs a machine against the router."""

import os
import subprocess
from pathlib import Path

import pytest

from vmhost.guarantees import KILLED_FIRST, NICE, Guarantees, parting


@pytest.mark.parametrize(
    ("ours", "theirs", "group"),
    [
        (
            "/system.slice/branchline.service",
            "/machine.slice/machine-dc.scope/libvirt/vcpu0",
            "machine.slice",
        ),
        ("/", "/machine/qemu-1-dc.libvirt-qemu/emulator", "machine"),
        ("/a/ours", "/a/b/c", "a/b"),
        ("/a", "/a/b", "a/b"),
        ("/", "/", ""),
        ("/a", "/a", ""),
        ("/a/b", "/a", ""),
        ("", "", ""),
    ],
)
def test_the_outermost_group_that_only_one_is_in(ours: str, theirs: str, group: str) -> None:
    assert parting(ours, theirs) == group


def test_a_process_in_our_own_group_is_nice_and_dies_first(tmp_path: Path) -> None:
    with subprocess.Popen(
        ["guest=dc,"], executable="cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x")
        assert process.stdout.read(1) == b"x"  # it has its command line by now
        (tmp_path / "dc.pid").write_text(str(process.pid))
        guarantees = Guarantees(pids=tmp_path)
        held = guarantees.put_on("dc")
        assert held.missing == ()
        assert held.processor == f"nice {NICE}, for want of a control group of its own"
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == NICE
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == f"{KILLED_FIRST}\n"
        assert guarantees.held == {"dc": held}
        process.stdin.close()
    assert guarantees.put_on("dc").missing


def test_a_machine_whose_process_is_not_known(tmp_path: Path) -> None:
    held = Guarantees(pids=tmp_path).put_on("dc")
    assert (held.processor, held.memory) == ("", "")
    assert held.missing[0].startswith("the process of dc is not known")


def test_a_pid_file_that_is_out_of_date(tmp_path: Path) -> None:
    (tmp_path / "dc.pid").write_text(str(os.getpid()))
    assert Guarantees(pids=tmp_path).put_on("dc").missing == (f"process {os.getpid()} is not that of dc",)
