"""Freed memory stays with the process."""

import subprocess
import sys

PROGRAM = """
import resource, sys
from dedupe import keep_heap
if sys.argv[1] == "kept":
    assert keep_heap()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(200):
        blocks = [bytearray(b"x") * 700_000 for _ in range(2)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(how: str) -> int:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, text=True, timeout=60
    )
    return int(ran.stdout)


def test_blocks_do_not_fault_their_pages_in_anew() -> None:
    assert faults("kept") < 1000 < faults("given back")
