"""The codec: rolling-hash chunk caches; knows nothing of sockets."""

from dedupe.block import Block
from dedupe.cache import Cache, CacheStats
from dedupe.errors import BadBlock, OfferError
from dedupe.express import pack, unpack
from dedupe.heap import keep_heap
from dedupe.literals import Effort
from dedupe.window import DecodeWindow, EncodeWindow

Window = EncodeWindow | DecodeWindow

__all__ = [
    "BadBlock",
    "Block",
    "Cache",
    "CacheStats",
    "DecodeWindow",
    "Effort",
    "EncodeWindow",
    "OfferError",
    "Window",
    "keep_heap",
    "pack",
    "unpack",
]
