"""A flow's application, and whether its bytes are encrypted: told by its first bytes, else guessed by its port."""

from appliance.applications.application import Application, by_port, classify
from appliance.applications.opening import OPENING, Opening

__all__ = ["OPENING", "Application", "Opening", "by_port", "classify"]
