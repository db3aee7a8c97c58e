"""How a wrong configuration is told to a person."""

from __future__ import annotations


class ConfigError(Exception):
    """A configuration that cannot be used; nothing has been changed.

    `file` is where it was read, `key` the path of the field ("" for the file as a whole), `problem` says what is
    wrong and `remedy` what to do about it.
    """

    def __init__(self, file: str, key: str, problem: str, remedy: str) -> None:
        super().__init__(file, key, problem, remedy)
        self.file = file
        self.key = key
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where}: {self.problem}; {self.remedy}"
