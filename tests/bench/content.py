"""What crosses the WAN in a benchmark: two successive releases, and copies of one that no cache has seen."""

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.lab import LabError, samples
from tests.bench.report import progress

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "demo"
SUBSTITUTE_BYTES = 64 << 20


def releases() -> tuple[Path, Path]:
    """numpy 1.26.3 and 1.26.4 as tar files; without the Internet, this machine's libraries and an edited copy."""
    try:
        old, new = (samples.fetch(release, CACHE, progress) for release in samples.NUMPY)
    except LabError as error:
        progress(f"{error}; this machine's own libraries stand in")
        return substitute(CACHE)
    return old, new


def substitute(directory: Path) -> tuple[Path, Path]:
    """Libraries of this machine one after another, and the same with an edit every 64 KiB or so."""
    old, new = directory / "libraries-1.bin", directory / "libraries-2.bin"
    if not (old.exists() and new.exists()):
        directory.mkdir(parents=True, exist_ok=True)
        content = bytearray()
        for path in sorted(Path("/usr/lib").rglob("*.so*")):
            if len(content) < SUBSTITUTE_BYTES and path.is_file() and not path.is_symlink():
                content += path.read_bytes()
        old.write_bytes(content)
        edits = random.Random(1)
        for at in range(len(content) - 1000, 0, -65_536):
            content[at : at + edits.randrange(500)] = edits.randbytes(edits.randrange(500))
        new.write_bytes(content)
    return old, new


@contextmanager
def unseen(path: Path, copies: int) -> Iterator[list[Path]]:
    """Copies that share no bytes with the file or each other, yet compress as it does: every byte XOR a constant."""
    content = path.read_bytes()
    with tempfile.TemporaryDirectory(prefix="branchline-bench-") as name:
        made = []
        for key in range(1, copies + 1):
            copy = Path(name, f"unseen-{key}")
            copy.write_bytes(content.translate(bytes(byte ^ key for byte in range(256))))
            made.append(copy)
        yield made
