"""Interception: which TCP flows become ours, and what makes fail-open true. The one room that knows nftables."""

from appliance.intercept.far_side import dial
from appliance.intercept.half_open import HalfOpen, half_open
from appliance.intercept.interception import Interception, Known
from appliance.intercept.letting import let_go
from appliance.intercept.listener import Accepted, Endpoint, Listener, close_orderly, reset_on_close
from appliance.intercept.nft import Nft, NftError
from appliance.intercept.passed import PassedFlow, passed_flows
from appliance.intercept.specs import BoxSpec, PeerSpec, RuleSpec
from appliance.intercept.stale import StaleTuples, Tuple

__all__ = [
    "Accepted",
    "BoxSpec",
    "Endpoint",
    "HalfOpen",
    "Interception",
    "Known",
    "Listener",
    "Nft",
    "NftError",
    "PassedFlow",
    "PeerSpec",
    "RuleSpec",
    "StaleTuples",
    "Tuple",
    "close_orderly",
    "dial",
    "half_open",
    "let_go",
    "passed_flows",
    "reset_on_close",
]
