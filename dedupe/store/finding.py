"""What a cache has to say to a person."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """Something happened to a cache that an event should tell.

    kind: `cache.new` (it starts empty), `cache.dropped` (bytes that are no longer held), `cache.disk` (the disk fails,
    or works again), `cache.recovered` (what an earlier process left). severity: info, warning or error. evidence:
    numbers (bytes) and names.
    """

    kind: str
    severity: str
    text: str
    evidence: dict[str, int | str] = field(default_factory=dict)
