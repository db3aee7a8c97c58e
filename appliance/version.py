"""The release that is running."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """As installed; "0+source" when the source tree is run without having been installed."""
    try:
        return metadata.version("branchline")
    except metadata.PackageNotFoundError:
        return "0+source"
