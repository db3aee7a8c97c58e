"""The domain's policies and logon scripts: Samba does not replicate them, so they are copied from the centre."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from samba.credentials import SMB_SIGNING_REQUIRED
from samba.samba3 import libsmb_samba_internal as libsmb
from samba.samba3 import param as s3param

SHARE = "sysvol"


def copy(server: str, lp: Any, creds: Any, domain: str, unfinished: Path) -> int:
    """Make ours like that of `server`, access rights included. How many files and directories have changed.

    The file `unfinished` is there while the rights of what was copied may not be right.
    """
    creds.set_smb_signing(SMB_SIGNING_REQUIRED)
    context = s3param.get_context()
    context.load(lp.configfile)
    share = libsmb.Conn(server, SHARE, lp=context, creds=creds)
    root = Path(lp.get("path", SHARE))
    rights = unfinished.exists()
    unfinished.touch()
    changed = _like(share, domain, root / domain)
    if changed or rights:
        subprocess.run(["samba-tool", "ntacl", "sysvolreset"], check=True, capture_output=True)
    unfinished.unlink()
    return changed


def _like(share: Any, theirs: str, ours: Path) -> int:
    """Make the directory `ours` like `theirs`; how much has changed."""
    changed = int(not ours.is_dir())
    if changed:
        ours.unlink(missing_ok=True)
    ours.mkdir(parents=True, exist_ok=True)
    names = set()
    for entry in share.list(theirs):
        name = entry["name"]
        if name in (".", "..") or "/" in name:
            continue
        names.add(name)
        if entry["attrib"] & libsmb.FILE_ATTRIBUTE_DIRECTORY:
            changed += _like(share, f"{theirs}\\{name}", ours / name)
            continue
        file = ours / name
        if _same(file, entry["size"], entry["mtime"]):
            continue
        new = ours / f".{name}.new"
        new.write_bytes(share.loadfile(f"{theirs}\\{name}"))
        os.utime(new, (entry["mtime"], entry["mtime"]))
        if file.is_dir():
            shutil.rmtree(file)
        new.replace(file)
        changed += 1
    for left in ours.iterdir():
        if left.name not in names:
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
            changed += 1
    return changed


def _same(file: Path, size: int, mtime: float) -> bool:
    try:
        here = file.stat()
    except OSError:
        return False
    return here.st_size == size and int(here.st_mtime) == int(mtime)
