"""How what cannot be done with a virtual machine is told to a person."""

from __future__ import annotations


class VmError(Exception):
    """Something that was asked for and cannot be had.

    `kind` is for programs: config (the recipe is wrong), not_found, refused (and nothing was changed), failed (perhaps
    half way), unavailable (libvirt does not answer). The message says what is wrong and what to do.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class RecipeError(VmError):
    """A recipe that cannot be used; nothing has been changed. `key` is the path of the field, "" for the whole file."""

    def __init__(self, file: str, key: str, problem: str, remedy: str) -> None:
        where = f"{file}: {key}" if key else file
        super().__init__("config", f"{where}: {problem}; {remedy}")
        self.key = key
