"""What several data processes have answered, as if one had. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from appliance.rpc import Params, RpcError

Answer = Any
Tree = dict[str, Any]

STRICT: Final = frozenset({"keys"})
"""Methods whose answer counts only if all have given theirs."""
_MOST: Final = frozenset({"busy", "turn_s", "draining_until"})
_CHANGES: Final = frozenset({"reload", "bypass", "trust", "clear_cache", "enrol_answer"})


def merged(method: str, params: Params, answers: Sequence[Answer | RpcError]) -> Answer:
    """One answer of those of all processes, in their order. RpcError.

    What only asks is content with those that answer; a change is refused when one refuses it (kind "partly" if others
    have taken it). One that is not there reads for itself when it starts.
    """
    given = [answer for answer in answers if not isinstance(answer, RpcError)]
    errors = [answer for answer in answers if isinstance(answer, RpcError)]
    fatal = [
        error
        for error in errors
        if method in STRICT or not given or (method in _CHANGES and error.kind != "unavailable")
    ]
    if fatal and given:
        raise RpcError("partly", fatal[0].message)
    if fatal:
        raise fatal[0]
    return given[0] if len(answers) == 1 else _WAYS[method](given, params)


def _status(answers: Sequence[Tree], _params: Params) -> Tree:
    """The totals of all, and under `processes` what each says of itself."""
    totals = _sums([answer["totals"] for answer in answers])
    own = [{key: value for key, value in answer.items() if key != "peers"} for answer in answers]
    return {
        **answers[0],
        "totals": totals,
        "heartbeat_age_s": max(answer["heartbeat_age_s"] for answer in answers),
        "flows_intercepted": sum(answer["flows_intercepted"] for answer in answers),
        "limits": _limits([answer["limits"] for answer in answers]),
        "peers": _joined([answer["peers"] for answer in answers], {}),
        "processes": own,
    }


def _limits(answers: Sequence[Tree]) -> Tree:
    """How much there is of all; how busy, and how long draining, the one is that is most."""
    counted = {key: [answer[key] for answer in answers] for key in answers[0]}
    known = {key: [value for value in values if value is not None] for key, values in counted.items()}
    return {
        key: (max(values, default=None) if key in _MOST else sum(values)) for key, values in known.items()
    }


def _flows(answers: Sequence[list[Tree]], params: Params) -> list[Tree]:
    """A page of all, in the order in which each gives its own."""
    joined = sorted(_joined(answers, params), key=lambda flow: (flow["peer"], flow["stream"]))
    return joined[: params.get("limit", len(joined))]


def _caches(answers: Sequence[Tree], _params: Params) -> Tree:
    counted = [{key: answer[key] for key in ("index", "index_limit")} for answer in answers]
    return {"caches": _joined([answer["caches"] for answer in answers], {}), **_sums(counted)}


def _keys(answers: Sequence[Tree], _params: Params) -> Tree:
    return {"waiting": _joined([answer["waiting"] for answer in answers], {})}


def _sound(answers: Sequence[Tree], _params: Params) -> Tree:
    return {peer: depths for answer in answers for peer, depths in answer.items()}


def _first(answers: Sequence[Answer], _params: Params) -> Answer:
    return answers[0]


def _joined(answers: Sequence[list[Any]], _params: Params) -> list[Any]:
    return [item for answer in answers for item in answer]


def _sums(answers: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {key: sum(answer[key] for answer in answers) for key in answers[0]}


_WAYS: Final[Mapping[str, Callable[[Sequence[Any], Params], Answer]]] = {
    "status": _status,
    "peers": _joined,
    "flows": _flows,
    "caches": _caches,
    "keys": _keys,
    "sound": _sound,
    "reload": _first,
    "bypass": _first,
    "trust": _first,
    "clear_cache": _first,
    "enrol_answer": _first,
}
