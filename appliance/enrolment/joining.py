"""The branch's part: asks the centre that a token names to be let in. Blocking sockets, for the command line."""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
from collections.abc import Iterator
from typing import Any

from appliance.config.values import Endpoint
from appliance.enrolment.messages import Answer, Request, enrol, read
from appliance.enrolment.token import Token
from appliance.lanes.frames import FrameReader, Kind, ProtocolError

CONNECT_S = 10.0
ANSWER_S = 20.0


class JoinError(Exception):
    """The box was not enrolled; the message says why and what to do. Nothing has changed but perhaps at the centre,
    which answers the same box again as long as the token is good."""


def join(token: Token, request: Request) -> tuple[Answer, bytes]:
    """Asks at each of the token's endpoints until one answers; its answer and certificate (DER). JoinError."""
    silent = []
    for endpoint in map(Endpoint, token.dial):
        try:
            return _ask(endpoint, token, request)
        except OSError as error:
            silent.append(f"{endpoint}: {error.strerror or error}")
    raise JoinError(f"the centre cannot be reached ({'; '.join(silent)}); check the WAN and run this again")


def _ask(endpoint: Endpoint, token: Token, request: Request) -> tuple[Answer, bytes]:
    with socket.create_connection((endpoint.host, endpoint.port), CONNECT_S) as tcp:
        tcp.settimeout(ANSWER_S)
        try:
            with token.identity() as identity:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.minimum_version = ssl.TLSVersion.TLSv1_3
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE  # the token has the fingerprint, and below it is compared
                context.load_cert_chain(identity.path)
            with context.wrap_socket(tcp) as tls:
                certificate = tls.getpeercert(binary_form=True) or b""
                if not hmac.compare_digest(hashlib.sha256(certificate).digest(), token.centre):
                    raise JoinError(
                        f"the box at {endpoint} is not the one that made this token: its key is another. Nothing was "
                        "said to it. If the centre has a new key, ask for a new token; else somebody is in between"
                    )
                return _exchange(tls, request), certificate
        except ssl.SSLError as error:
            if "ALERT" not in str(error):
                raise OSError(f"TLS: {error.reason or error}") from error
            raise JoinError(
                "the centre does not know this token: it was withdrawn, or is long over; ask for another"
            ) from None


def _exchange(tls: ssl.SSLSocket, request: Request) -> Answer:
    for kind, body in _received(tls):
        if kind == Kind.PING:
            tls.sendall(enrol(request))  # not before: the token is good
        if kind == Kind.ENROL:
            try:
                return read(body, Answer)
            except ProtocolError as error:
                raise JoinError(f"the centre answers what this box does not understand: {error}") from None
        if kind == Kind.BYE:
            raise JoinError(f"the centre refused: {body.decode(errors='replace')}")
    raise OSError("it closed the connection without an answer")


def _received(tls: ssl.SSLSocket) -> Iterator[tuple[int, Any]]:
    reader = FrameReader()
    while count := tls.recv_into(reader.space()):
        try:
            yield from reader.received(count)
        except ProtocolError as error:
            raise JoinError(f"the centre answers what this box does not understand: {error}") from None
