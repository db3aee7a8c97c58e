"""Calls that may never return, because a disk does not answer: each in a thread of its own, waited for with a limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Attempt(Generic[T]):
    """`call()` in a thread that does not keep the process from ending."""

    def __init__(self, call: Callable[[], T], name: str) -> None:
        self._call = call
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._abandoned: Callable[[T], object] | None = None
        self._result: T | None = None
        self._error: Exception | None = None
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Whether the call has returned or raised within so long."""
        return self._done.wait(seconds)

    def result(self) -> T:
        """What it returned; raises what it raised. After wait() has said True."""
        if self._error is not None:
            raise self._error
        assert self._done.is_set()
        return self._result  # type: ignore[return-value]

    def abandon(self, dispose: Callable[[T], object]) -> None:
        """Nobody wants the result any more: `dispose(result)` runs in the thread when it comes, here if it is there."""
        with self._lock:
            if not self._done.is_set():
                self._abandoned = dispose
                return
        if self._error is None:
            dispose(self.result())

    def _run(self) -> None:
        try:
            self._result = self._call()
        except Exception as error:  # noqa: BLE001 - handed to whoever asks for the result
            self._error = error
        with self._lock:
            self._done.set()
            dispose = self._abandoned
        if dispose is not None and self._error is None:
            dispose(self.result())
