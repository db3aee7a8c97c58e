"""A machine's display speaks VNC, on a socket of the box."""

import json
import socket
import stat
from pathlib import Path

from tests.vm.box import VmBox

GREETING = b"RFB 003.008\n"
NO_PASSWORD = 1


def test_a_viewer_is_greeted(box: VmBox, image: Path) -> None:
    recipe = box.recipe("seen", image)
    recipe.write_text("display = true\n" + recipe.read_text())
    box.vm("create", recipe)
    try:
        path = Path(json.loads(box.vm("vnc", "seen", "--json"))["socket"])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert box.vm("vnc", "seen") == f"{path} (mode 0600)\n"
        with socket.socket(socket.AF_UNIX) as viewer:
            viewer.settimeout(30)
            viewer.connect(str(path))
            assert viewer.recv(len(GREETING), socket.MSG_WAITALL) == GREETING
            viewer.sendall(GREETING)
            assert viewer.recv(2, socket.MSG_WAITALL) == bytes((1, NO_PASSWORD))
            viewer.sendall(bytes((NO_PASSWORD,)))
            assert viewer.recv(4, socket.MSG_WAITALL) == bytes(4)  # let in
            viewer.sendall(b"\1")  # beside other viewers
            width, height = (int.from_bytes(viewer.recv(2, socket.MSG_WAITALL)) for _ in range(2))
            assert width >= 640
            assert height >= 400
    finally:
        box.vm("kill", "seen")
    assert "has no display" in box.vm("vnc", "seen", fails=True)
    box.vm("delete", "seen", "--disks", "--yes")
