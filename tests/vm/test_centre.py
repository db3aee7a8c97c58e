"""The centre's controller that other tests stand on."""

import functools
import subprocess
from pathlib import Path

from tests.vm.box import until
from tests.vm.centre import DOMAIN, REALM, Centre


def test_a_user_of_the_centre_can_log_on(centre: Centre, tmp_path: Path) -> None:
    centre.add_user("alice", "Wonderland-1")
    cache = ["kinit", "-c", str(tmp_path / "ticket"), f"alice@{REALM}"]
    centre.run(*cache, input="Wonderland-1\n")
    listed = centre.run("smbclient", f"//{centre.host}/sysvol", "-U", "alice%Wonderland-1", "-c", "ls")
    assert DOMAIN in listed
    centre.cut()
    asked = ["dig", f"@{centre.address}", "+short", "+time=1", "+tries=1", "A", centre.host]
    assert subprocess.run(asked, capture_output=True).returncode != 0
    centre.mend()
    answer = functools.partial(subprocess.run, asked, capture_output=True, text=True)
    until(
        lambda: answer().stdout.strip() == centre.address, "the centre answers again"
    )  # a cable takes a moment
