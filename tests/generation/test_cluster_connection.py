"""Addresses of clusters: what is none, and what listens there and is no Ray; an install of Ray that is none."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from helpers.commands import free_port

from dimvida.errors import InputError
from dimvida.generation import cluster_connection
from dimvida.generation.cluster_connection import _require_there, import_ray, ray_connection

SETTINGS = bytes((0, 0, 6, 4, 0, 0, 0, 0, 0))


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
        ("head", "give HOST:PORT of the cluster's head"),
        (":6379", "give HOST:PORT"),
        ("head:port", "give HOST:PORT"),
        ("head:²", "give HOST:PORT"),
        ("ray://head:10001", "give HOST:PORT"),
        ("127.0.0.1:70000", "70000 is no port, which are 1 to 65535"),
        ("127.0.0.1:0", "0 is no port"),
        ("no.such.host.invalid:6379", "no cluster can be reached ("),
        ("127.0.0.1:PORT", "no cluster can be reached ("),
    ],
)
def test_no_address_of_a_cluster(address: str, reason: str):
    address = address.replace("PORT", str(free_port()))
    with pytest.raises(InputError) as refused:
        _require_there(address)
    assert str(refused.value).startswith(f"--ray {address}: {reason}")


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
    with listening(answer) as address, pytest.raises(InputError, match=f"--ray {address}: no head of a Ray cluster"):
        _require_there(address)


def test_a_silent_listener_is_given_up(monkeypatch):
    monkeypatch.setattr(cluster_connection, "_CONNECT", 0.05)
    over = threading.Event()
    with listening(lambda connection: over.wait()) as address:
        try:
            with pytest.raises(InputError, match="no head of a Ray cluster"):
                _require_there(address)
        finally:
            over.set()


def test_what_speaks_as_ray_does_is_let_pass(monkeypatch):
    def answer(connection: socket.socket) -> None:
        assert connection.recv(24).startswith(b"PRI * HTTP/2.0")
        connection.sendall(SETTINGS[:4])
        connection.sendall(SETTINGS[4:])

    with listening(answer) as address:
        _require_there(address)
    monkeypatch.setenv("RAY_USE_TLS", "1")  # then its answer cannot be read
    with listening(lambda connection: None) as address:
        _require_there(address)


def test_a_broken_install(monkeypatch, tmp_path):
    """Of a package whose import fails, in whatever way."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("ray", "ray.exceptions"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "ray.py").write_text("raise ImportError('libray.so: cannot open\\nmore')")
    with pytest.raises(InputError, match=r"--ray: Ray cannot be imported \(libray.so: cannot open\); pip install"):
        import_ray()


def test_a_cluster_that_lets_nobody_in_is_named_and_signals_stay_as_they_were(monkeypatch):
    def init(address: str, **options: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise ConnectionError("Failed to connect to Ray cluster\nmore")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cluster_connection, "import_ray", lambda: SimpleNamespace(init=init))
    monkeypatch.setattr(cluster_connection, "_require_there", lambda place: None)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    said = r"--ray head:6379: no cluster can be reached or started \(Failed to connect to Ray cluster"
    with pytest.raises(InputError, match=said + r"; one with a token needs RAY_AUTH_MODE=token\)$"):
        ray_connection("").__enter__()
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(InputError, match=said + r"\)$"):
        ray_connection("").__enter__()
    assert signal.getsignal(signal.SIGTERM) is before
