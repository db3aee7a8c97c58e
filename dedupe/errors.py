"""What can be wrong with bytes that came from a peer."""


class BadBlock(Exception):  # noqa: N818 - the field's word for it
    """A block (or express message) cannot be decoded: corrupt, oversized, or it names bytes we do not hold."""


class OfferError(Exception):
    """A peer's offer of logs cannot be understood."""


class StoreError(Exception):
    """A cache directory cannot be used; the message says why and what to do. Traffic can go on without it."""


class CacheInUse(StoreError):  # noqa: N818 - said as a fact
    """Another process has this cache open."""
