"""The one configuration: schema, file, verification, difference."""

from appliance.config.difference import Change, difference
from appliance.config.error import ConfigError
from appliance.config.load import from_dict, load, to_dict
from appliance.config.schema import Box, Cache, Config, Limits, Path, Peer, Rule

__all__ = [
    "Box",
    "Cache",
    "Change",
    "Config",
    "ConfigError",
    "Limits",
    "Path",
    "Peer",
    "Rule",
    "difference",
    "from_dict",
    "load",
    "to_dict",
]
