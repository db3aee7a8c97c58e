"""Binds the C kernel with cffi in API mode, so that calls release the GIL."""
