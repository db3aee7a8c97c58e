"""The configuration that is in force, beside the file that people edit.

The file may be half edited when a daemon is restarted after a crash. So the daemons start from the last configuration
that was verified and applied: `<run_dir>/accepted.json`, written by the supervisor at its start and by control after
each reload. `load` reads it like any configuration.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from appliance.config.load import to_dict
from appliance.config.schema import Config
from vmhost import durable


def accepted_path(config: Config) -> Path:
    """Where the accepted configuration of this box is kept."""
    return Path(config.box.run_dir) / "accepted.json"


def write_accepted(config: Config) -> Path:
    """Make `config` what a restarted daemon starts from; returns its path. OSError as it comes."""
    path = accepted_path(config)
    durable.replace(path, msgspec.json.encode(to_dict(config)))
    return path
