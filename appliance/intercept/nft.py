"""libnftables through ctypes: one object is one netlink socket.

The `nft` command cannot be used for the data plane's table: `flags owner` binds a table to the netlink
socket that made it, so that the kernel removes the table when that socket closes - at the latest when
the process dies. libnftables keeps its socket for as long as its context lives.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterable
from typing import Any, Final

from appliance.intercept import netlink
from appliance.intercept.elements import commit

_OUTPUT_JSON: Final = 1 << 4  # NFT_CTX_OUTPUT_JSON


class NftError(Exception):
    """nftables refused a command: its own message, and the command's first offending line."""


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise NftError(f"{error}; install the package libnftables1") from error
    context = ctypes.c_void_p
    for name, result, arguments in (
        ("nft_ctx_new", context, [ctypes.c_uint32]),
        ("nft_ctx_free", None, [context]),
        ("nft_ctx_buffer_output", ctypes.c_int, [context]),
        ("nft_ctx_buffer_error", ctypes.c_int, [context]),
        ("nft_ctx_get_output_buffer", ctypes.c_char_p, [context]),
        ("nft_ctx_get_error_buffer", ctypes.c_char_p, [context]),
        ("nft_ctx_output_set_flags", None, [context, ctypes.c_uint]),
        ("nft_run_cmd_from_buffer", ctypes.c_int, [context, ctypes.c_char_p]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _netfilter_sockets() -> set[int]:
    """Descriptors of this process that are netlink sockets of netfilter."""
    return {descriptor for descriptor in map(int, os.listdir("/proc/self/fd")) if _is_netfilter(descriptor)}


def _is_netfilter(descriptor: int) -> bool:
    try:
        if not os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
            return False
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            return sock.family == socket.AF_NETLINK and sock.proto == netlink.NETLINK_NETFILTER
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EBADF):
            return False  # closed since it was listed
        raise


class Nft:
    """A libnftables context in the network namespace of the calling thread. Not for several threads at once."""

    def __init__(self) -> None:
        self._library = _library()
        before = _netfilter_sockets()
        self._context: int | None = self._library.nft_ctx_new(0)
        if not self._context:
            raise NftError("libnftables could not open a netlink socket; CAP_NET_ADMIN is needed")
        # libnftables does not tell which socket is its own.
        opened = _netfilter_sockets() - before
        if len(opened) != 1:
            self._library.nft_ctx_free(self._context)
            raise NftError(f"libnftables opened {len(opened)} netlink sockets where one was expected")
        descriptor = opened.pop()
        # libmnl opens it without CLOEXEC: a child that inherited it would keep an owned table alive
        # after our death, and fail-open with it.
        fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> str:
        """Runs commands as one transaction and returns what they print. Raises NftError, nothing is applied then."""
        if self._context is None:
            raise NftError("this nftables context is closed")
        status = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context) or b""
        error: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if status != 0:
            message = error.decode(errors="replace").strip()
            raise NftError(message or f"nftables refused: {commands.strip().splitlines()[0]}")
        return output.decode()

    def change(self, elements: Iterable[bytes]) -> None:
        """Changes elements of sets (see `elements`) in one transaction, as the owner of what this object owns.

        Raises OSError with the kernel's errno, nothing is applied then.
        """
        if self._context is None:
            raise NftError("this nftables context is closed")
        commit(self._socket, elements)

    def ask(self, command: str) -> list[dict[str, Any]]:
        """Runs a listing command; returns the objects of its JSON answer without the header."""
        if self._context is None:
            raise NftError("this nftables context is closed")
        self._library.nft_ctx_output_set_flags(self._context, _OUTPUT_JSON)
        try:
            answer = self.run(command)
        finally:
            self._library.nft_ctx_output_set_flags(self._context, 0)
        objects: list[dict[str, Any]] = json.loads(answer)["nftables"] if answer else []
        return [item for item in objects if "metainfo" not in item]

    def close(self) -> None:
        """Closes the socket; tables that it owns vanish. May be called twice."""
        if self._context is not None:
            self._socket.close()
            self._library.nft_ctx_free(self._context)
            self._context = None

    def __enter__(self) -> Nft:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
