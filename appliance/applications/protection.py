"""What keeps a flow's bytes from others, and so perhaps from the codec."""

from __future__ import annotations

from typing import Literal

Protection = Literal["", "signed", "encrypted"]

Recognised = tuple[str, Protection] | None
"""A protocol's name and its protection; None when the bytes are no protocol that the recogniser knows."""
