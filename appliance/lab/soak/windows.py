"""SMB: Samba's server, and smbclient, which gets documents from a share and puts them back."""

from pathlib import Path

from appliance.lab.network import Lab
from appliance.lab.share import Share
from appliance.lab.soak import programs
from appliance.lab.soak.documents import Shelf, compare


class Windows:
    name = "smb"

    def __init__(self, lab: Lab, directory: Path, first: int) -> None:
        self._client = lab.client
        self._shelf = Shelf(directory / "offered", first)
        self._got = directory / "got"
        self._got.mkdir()
        self._share = Share(lab.server, directory / "samba", self._shelf.directory, writable=True)

    def turn(self) -> int:
        wanted = self._shelf.turn()
        got = [self._got / path.name for path in wanted]
        back = [path.with_name(f"returned-{path.name}") for path in wanted]
        words = [f"get {path.name} {target}" for path, target in zip(wanted, got, strict=True)]
        words += [f"put {target} {path.name}" for target, path in zip(got, back, strict=True)]
        try:
            programs.run(self._client, self._share.command("; ".join(words)))
            return compare(wanted, got) + compare(wanted, back)
        finally:
            for path in (*got, *back):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Every turn has its own connection."""
