"""Addresses of Ray clusters: what is one, and whether it may be a head of a cluster that answers there.

Ray would try for a minute, and print lines about it, where nobody is; at whoever else speaks gRPC for a third of that.
"""

from __future__ import annotations

import os
import re
import socket

from dimvida.errors import InputError

_CONNECT = 10.0  # seconds in which a cluster must answer
_FRAMES = 16  # of an answer that are looked through


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1) as its bytes."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


_DATA, _HEADERS, _SETTINGS = 0, 1, 4  # kinds of frames
_LAST, _WHOLE = 1, 4  # flags: of the stream's last frame, of headers that do not go on
_PATH = b"/ray.rpc.NodeInfoGcsService/CheckAlive"
_FIELDS = b"\x83\x86\x04%c%b\x01\x03ray\x0f\x10\x10application/grpc\x00\x02te\x08trailers" % (len(_PATH), _PATH)
"""POST by http, then fields by their numbers or their names (RFC 7541, appendix A)."""

_UNKNOWN = (b"\x0bgrpc-status\x0212", bytes.fromhex("889acac8b21234da8f8208bf"))
"""The field of an answer that says that whoever speaks gRPC knows no such call, plain and in Huffman's code."""

_NOT_LET_IN = (b"\x0bgrpc-status\x0216", bytes.fromhex("889acac8b21234da8f820b9f"))
"""That of a cluster that wants a token, or another one."""

_NO_TOKEN = "wants a token; set RAY_AUTH_MODE=token, with its token in ~/.ray/auth_token"
_OTHER_TOKEN = "wants another token than ~/.ray/auth_token or RAY_AUTH_TOKEN has here"


def _question(authorization: str) -> bytes:
    """A call of gRPC that the heads of clusters know; whether they answer it does not matter."""
    fields, value = _FIELDS, authorization.encode()
    if 0 < len(value) < 127:  # whose length is one byte
        fields += b"\x1f\x08%c%b" % (len(value), value)
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _WHOLE, 1, fields)
        + _frame(_DATA, _LAST, 1, bytes(5))  # a message without fields
    )


class _NotLetIn(Exception):
    """What is there is a cluster, and takes no call without its token."""


def host_and_port(address: str) -> tuple[str, int]:
    """The two of an address.

    Raises:
        ValueError: It is none; says what one looks like.
    """
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s\[\]:/@?#]+):([0-9]{1,9})", address)
    if match is None:
        raise ValueError("give HOST:PORT of the cluster's head, as 10.0.0.1:6379, or 'auto' or 'local'")
    if not 0 < int(match[2]) < 1 << 16:
        raise ValueError(f"{match[2]} is no port, which are 1 to 65535")
    return match[1].strip("[]"), int(match[2])


def why_none(address: str, authorization: str = "") -> str | None:
    """Why no cluster can be there, as far as that is soon seen; None where one may be.

    Args:
        address: HOST:PORT.
        authorization: The header of HTTP that has our token; empty without one.

    Raises:
        InputError: A cluster is there, and lets nobody in without its token, which Ray would try for some 20 seconds.
    """
    try:
        with socket.create_connection(host_and_port(address), _CONNECT) as connection:
            ours = os.environ.get("RAY_USE_TLS", "0") != "0" or _may_be_ray(connection, authorization)
    except _NotLetIn:
        wanted = _OTHER_TOKEN if authorization else _NO_TOKEN
        raise InputError(f"--ray: the cluster {address} {wanted}") from None
    except (OSError, UnicodeError) as error:
        return f"no cluster can be reached ({error})"
    except ValueError as error:
        return str(error)
    return None if ours else "no head of a Ray cluster answers there (its port is mostly 6379)"


def _may_be_ray(connection: socket.socket, authorization: str) -> bool:
    """Whether the other end speaks HTTP/2, as gRPC needs it, and does not say that it knows no call of Ray."""
    connection.settimeout(_CONNECT)
    kind = None
    try:
        connection.sendall(_question(authorization))
        with connection.makefile("rb") as answer:
            for _ in range(_FRAMES):
                head = answer.read(9)
                if len(head) < 9 or (kind is None and (head[3] != _SETTINGS or head[5:] != bytes(4))):
                    return kind is not None
                kind, payload = head[3], answer.read(int.from_bytes(head[:3], "big"))
                if kind == _HEADERS:
                    if any(text in payload for text in _NOT_LET_IN):
                        raise _NotLetIn
                    return not any(text in payload for text in _UNKNOWN)
    except OSError:  # whoever is slow may be one
        return kind is not None
    return True
