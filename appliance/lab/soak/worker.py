"""One client of a soak: turn after turn in a thread of its own, until it is told to stop."""

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from appliance.lab.soak.turn_error import TurnError

KEPT_FAULTS = 20


class Client(Protocol):
    """Somebody's program against somebody's server. turn(): bytes that were compared; raises TurnError."""

    @property
    def name(self) -> str: ...

    def turn(self) -> int: ...

    def close(self) -> None: ...


@dataclass
class Tally:
    """What a client has done so far. wrong: turns that brought other bytes. broken: that failed in another way."""

    client: str
    turns: int = 0
    bytes: int = 0
    wrong: int = 0
    broken: int = 0
    faults: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def blame(self, text: str, *, wrong: bool) -> None:
        self.wrong += wrong
        self.broken += not wrong
        self.faults = [*self.faults, text][:KEPT_FAULTS]


class Worker:
    def __init__(self, client: Client, pause: float, report: Callable[[str], None]) -> None:
        """pause: seconds between two turns, so that a busy day is not a stress test. report: told of faults."""
        self.tally = Tally(client.name)
        self._client = client
        self._pause = pause
        self._report = report
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=client.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Lets the turn end, and the sessions that stay."""
        self._stop.set()

    def join(self) -> None:
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self.tally.bytes += self._client.turn()
            except TurnError as fault:
                self._blame(str(fault), wrong=fault.wrong)
            except Exception:  # noqa: BLE001 - said; the other clients go on
                self._blame(traceback.format_exc(), wrong=False)
            self.tally.turns += 1
            self._stop.wait(self._pause)
        self._client.close()

    def _blame(self, text: str, *, wrong: bool) -> None:
        self.tally.blame(text, wrong=wrong)
        self._report(f"{time.strftime('%H:%M:%S')} {self.tally.client}: {text}")
