"""Servers on loopback: files over HTTP, with and without ranges, and buckets as S3 has them."""

from __future__ import annotations

import functools
import http.server
import io
import logging
import os
import socket
import struct
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; counts requests, and can be told to refuse them."""

    requests: list[str]
    refuse: int = 0
    reset: str = ""  # what begins so ends with a reset of the connection
    ranges: bool = False

    def do_GET(self) -> None:
        type(self).requests.append(self.path)
        if self.reset and self.path.startswith(self.reset):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.rfile.close()
            self.wfile = io.BytesIO()
            os.close(self.connection.detach())  # no end is said before it
            return
        if self.refuse:
            self.send_error(self.refuse)
            return
        span, path = self.headers.get("Range"), Path(self.translate_path(self.path))
        if not self.ranges or span is None or not path.is_file():
            super().do_GET()
            return
        data = path.read_bytes()
        first, _, last = span.removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last or len(data)) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def do_HEAD(self) -> None:
        if self.refuse:
            self.send_error(self.refuse)
        else:
            super().do_HEAD()

    def log_message(self, *args: Any) -> None:
        """Nothing is printed."""


@contextmanager
def http_server(folder: Path, *, ranges: bool) -> Iterator[tuple[str, type[Handler]]]:
    """The URL of a server of a folder's files, and the class of its handlers."""
    handler = type("Handler", (Handler,), {"requests": [], "ranges": ranges})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def s3_server(monkeypatch: Any) -> Iterator[Any]:
    """A file system of S3 whose server is moto's, and an environment in which others find it, too."""
    import s3fs
    from moto.server import ThreadedMotoServer

    monkeypatch.setattr(logging.getLogger("werkzeug"), "disabled", True)  # which tells of each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", b"").close()  # its buckets are those of the process
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        yield s3fs.S3FileSystem()
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()


def send_hashes(source: Any, connection: Any) -> None:
    """What another process reads of the first object."""
    connection.send([source.read_view(0, view).sha256 for view in source.records[0].views])
