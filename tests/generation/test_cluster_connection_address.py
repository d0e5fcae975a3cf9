"""Addresses of clusters: what is none, and what listens there and is no Ray."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from helpers.commands import free_port

from dimvida.errors import InputError
from dimvida.generation import cluster_connection
from dimvida.generation.cluster_connection import host_and_port, why_none

SETTINGS = bytes((0, 0, 6, 4, 0, 0, 0, 0, 0))
ACKNOWLEDGED = bytes((0, 0, 0, 4, 1, 0, 0, 0, 0))
NO_RAY = "no head of a Ray cluster answers there"


@contextmanager
def listening(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """An address where somebody answers once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("head", "give HOST:PORT of the cluster's head, as 10.0.0.1:6379, or 'auto' or 'local'"),
        ("", "give HOST:PORT"),
        (":6379", "give HOST:PORT"),
        ("head:", "give HOST:PORT"),
        ("head:port", "give HOST:PORT"),
        ("head:²", "give HOST:PORT"),
        ("head:1 ", "give HOST:PORT"),
        ("head:" + "9" * 5000, "give HOST:PORT"),
        ("a:b:c", "give HOST:PORT"),
        ("a:b:6379", "give HOST:PORT"),
        ("::1:6379", "give HOST:PORT"),
        ("[::1", "give HOST:PORT"),
        ("[::1]", "give HOST:PORT"),
        ("[]:6379", "give HOST:PORT"),
        ("[head]:6379", "give HOST:PORT"),
        ("me@head:6379", "give HOST:PORT"),
        ("ray://", "give HOST:PORT"),
        ("ray://head:10001", "give HOST:PORT"),
        ("http://head:8265", "give HOST:PORT"),
        ("127.0.0.1:70000", "70000 is no port, which are 1 to 65535"),
        ("127.0.0.1:0", "0 is no port"),
    ],
)
def test_no_address(address: str, reason: str):
    with pytest.raises(ValueError, match=f"^{reason}"):
        host_and_port(address)
    assert (why_none(address) or "").startswith(reason)


@pytest.mark.parametrize(
    ("address", "host"),
    [("head:6379", "head"), ("10.0.0.1:6379", "10.0.0.1"), ("[::1]:6379", "::1"), ("a-b.example:6379", "a-b.example")],
)
def test_an_address(address: str, host: str):
    assert host_and_port(address) == (host, 6379)


@pytest.mark.parametrize("address", ["no.such.host.invalid:6379", "a..b:6379", "127.0.0.1:PORT"])
def test_nobody_is_there(address: str):
    assert (why_none(address.replace("PORT", str(free_port()))) or "").startswith("no cluster can be reached (")


@pytest.mark.parametrize(
    "answer",
    [
        lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"),
        lambda connection: connection.sendall(SETTINGS[:5]),
        lambda connection: connection.sendall(bytes(9)),
        lambda connection: None,
        lambda connection: connection.recv(100),
    ],
    ids=["http", "ssh", "cut", "zeros", "closed", "closed later"],
)
def test_somebody_else_listens(answer):
    with listening(answer) as address:
        assert (why_none(address) or "").startswith(NO_RAY)


def test_a_silent_listener_is_given_up(monkeypatch):
    monkeypatch.setattr(cluster_connection, "_CONNECT", 0.05)
    over = threading.Event()
    with listening(lambda connection: over.wait()) as address:
        try:
            assert (why_none(address) or "").startswith(NO_RAY)
        finally:
            over.set()


def answering(status: bytes, fields: bytes = b"trailers") -> Callable[[socket.socket], None]:
    """Speaks as gRPC does, and ends the call with a status; is asked with fields of which these are the last."""

    def answer(connection: socket.socket) -> None:
        asked = b""
        while not asked.endswith(bytes(5)):
            asked += connection.recv(1000)
        assert asked.startswith(b"PRI * HTTP/2.0") and b"/ray.rpc.NodeInfoGcsService/CheckAlive" in asked
        assert asked[:-14].endswith(fields)
        headers = b"\x88@\x0ccontent-type\x10application/grpc" + status
        frame = len(headers).to_bytes(3, "big") + bytes((1, 5, 0, 0, 0, 1)) + headers
        for part in (SETTINGS[:4], SETTINGS[4:] + bytes(6) + ACKNOWLEDGED + frame[:3], frame[3:]):
            connection.sendall(part)

    return answer


@pytest.mark.parametrize(
    ("status", "passes"),
    [
        (b"@\x0bgrpc-status\x0212", False),  # unimplemented, as gRPC in C says it
        (b"@" + bytes.fromhex("889acac8b21234da8f8208bf"), False),  # the same as other implementations do
        (b"@\x0bgrpc-status\x010", True),
    ],
    ids=["unknown", "unknown in Huffman's code", "known"],
)
def test_another_server_of_grpc_says_that_it_knows_no_ray(status: bytes, passes: bool):
    with listening(answering(status)) as address:
        assert passes if why_none(address) is None else not passes


@pytest.mark.parametrize("status", [b"@\x0bgrpc-status\x0216", b"\0" + bytes.fromhex("889acac8b21234da8f820b9f")])
@pytest.mark.parametrize(
    ("ours", "fields", "wanted"),
    [
        ("", b"trailers", "a token; set RAY_AUTH_MODE=token"),
        ("Bearer abc", b"\x1f\x08\x0aBearer abc", "another token than "),
    ],
)
def test_a_cluster_that_lets_nobody_in_without_its_token(status: bytes, ours: str, fields: bytes, wanted: str):
    """As the heads of Ray 2.60 say it; Ray would try for 20 seconds and print a line for each."""
    with (
        listening(answering(status, fields)) as address,
        pytest.raises(InputError, match=f"^--ray: the cluster {address} wants {wanted}"),
    ):
        why_none(address, ours)


def test_whoever_is_slow_or_cannot_be_read_is_let_pass(monkeypatch):
    monkeypatch.setattr(cluster_connection, "_CONNECT", 0.05)
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(SETTINGS + bytes(6))
        over.wait()

    with listening(answer) as address:
        try:
            assert why_none(address) is None
        finally:
            over.set()
    monkeypatch.setenv("RAY_USE_TLS", "1")
    with listening(lambda connection: None) as address:
        assert why_none(address) is None
