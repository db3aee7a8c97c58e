"""What runs in a lab for as long as a `with` block does."""

from abc import ABC, abstractmethod
from typing import Self


class Running(ABC):
    """Started on entry; closed on leaving, and also when starting fails half-way."""

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Ends what has been started; nothing where nothing was."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
