"""Binds the C kernel with cffi in API mode, so that calls release the GIL."""

import re
from pathlib import Path

from cffi import FFI

HERE = Path("dedupe/kernel")  # setuptools runs from the project's root and wants relative sources
SOURCES = ("scan", "log", "index", "token", "block", "match", "apply", "sample", "guard")
FLAGS = ("-O3", "-std=c17", "-Wall", "-Wextra", "-Werror")


def declarations(header: str) -> str:
    """The part of the header between its cdef marks."""
    found = re.search(r"/\* cdef begin \*/(.*)/\* cdef end \*/", header, re.DOTALL)
    if found is None:
        raise ValueError("kernel.h: the cdef marks are missing")
    return found.group(1)


def builder() -> FFI:
    ffi = FFI()
    ffi.cdef(declarations((Path(__file__).parent / "kernel.h").read_text()))
    ffi.set_source(
        "dedupe._kernel",
        '#include "kernel.h"',
        sources=[str(HERE / f"{name}.c") for name in SOURCES],
        include_dirs=[str(HERE)],
        depends=[str(HERE / f"{name}.h") for name in ("kernel", "scan", "log", "index", "token")],
        extra_compile_args=list(FLAGS),
    )
    return ffi


ffibuilder = builder()
