"""A bar that shows how far a machine is, while the box is asked for something that takes long."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Any

from appliance.cli.vm.asking import ask

_LOOK_S = 0.5


def ask_with_bar(socket_path: Path, label: str, key: str, method: str, **params: object) -> Any:
    """What the box answers. The bar is on standard error, if that is a terminal.

    `key` is that of the fraction in what `vm_list` says.
    """
    from rich.console import Console
    from rich.progress import Progress

    with (
        ThreadPoolExecutor(1) as worker,
        Progress(console=Console(stderr=True), transient=True) as bar,
    ):
        asked = worker.submit(ask, socket_path, method, **params)
        task = bar.add_task(label, total=1.0)
        while True:
            try:
                return asked.result(_LOOK_S)
            except NotYet:
                parts = [one[key] for one in ask(socket_path, "vm_list") if one.get(key) is not None]
                bar.update(task, completed=min(parts, default=0.0))
