"""The codec: rolling-hash chunk caches; knows nothing of sockets."""

from dedupe.block import Block
from dedupe.cache import Cache, CacheStats
from dedupe.errors import BadBlock, CacheInUse, OfferError, StoreError
from dedupe.express import pack, unpack
from dedupe.heap import keep_heap, trim_heap
from dedupe.index import usual_index
from dedupe.literals import Effort
from dedupe.offer import IN_MEMORY
from dedupe.opening import disk_size, open_cache
from dedupe.storage import machine_memory
from dedupe.store.finding import Finding
from dedupe.store.inspect import CacheReport, LogReport, clear, delete, inspect
from dedupe.store.room import Stored, stored, too_many
from dedupe.window import DecodeWindow, EncodeWindow, allow_windows

Window = EncodeWindow | DecodeWindow

__all__ = [
    "IN_MEMORY",
    "BadBlock",
    "Block",
    "Cache",
    "CacheInUse",
    "CacheReport",
    "CacheStats",
    "DecodeWindow",
    "Effort",
    "EncodeWindow",
    "Finding",
    "LogReport",
    "OfferError",
    "StoreError",
    "Stored",
    "Window",
    "allow_windows",
    "clear",
    "delete",
    "disk_size",
    "inspect",
    "keep_heap",
    "machine_memory",
    "open_cache",
    "pack",
    "stored",
    "too_many",
    "trim_heap",
    "unpack",
    "usual_index",
]
