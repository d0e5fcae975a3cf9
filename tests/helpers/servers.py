"""Servers on loopback: files over HTTP, with and without ranges, buckets as S3 and Google have them, and the Hub."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import logging
import os
import re
import socket
import struct
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote


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
def serving(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of a server whose requests are a handler's."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def http_server(folder: Path, *, ranges: bool = False) -> Iterator[tuple[str, type[Handler]]]:
    """The URL of a server of a folder's files, and the class of its handlers."""
    handler = type("Handler", (Handler,), {"requests": [], "ranges": ranges})
    with serving(functools.partial(handler, directory=str(folder))) as address:
        yield address, handler


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
        ("AWS_CONFIG_FILE", os.devnull),
        ("AWS_SHARED_CREDENTIALS_FILE", os.devnull),
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


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers with whole bodies, and prints nothing."""

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nothing is printed."""


class Hub(Answering):
    """As much of the Hugging Face Hub as is asked of one repository: revisions, folders, and files or parts of them."""

    protocol_version = "HTTP/1.1"
    repository: str
    files: dict[str, bytes]
    asked: list[str]
    commit = "0" * 40
    revisions = ("main", "v1", commit, "~parquet", "refs/convert/parquet")

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        type(self).asked.append(unquote(path))
        place = rf"/(?:api/(?:models/)?)?{re.escape(self.repository)}"
        found = re.fullmatch(rf"{place}(?:/(revision|tree|resolve)/([^/]+)(?:/(.*))?)?", path)
        if found is None:
            return self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})  # as of one that nobody may see
        what, revision, name = found[1], unquote(found[2] or "main"), unquote(found[3] or "")
        if revision not in self.revisions:
            return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if what in (None, "revision"):
            return self.answer(200, json.dumps({"id": self.repository, "sha": self.commit, "siblings": []}).encode())
        if what == "tree":
            return self._tree(name and f"{name}/", "recursive=true" in query.lower())
        if name not in self.files:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        data, tag = self.files[name], f'"{hashlib.sha1(self.files[name]).hexdigest()}"'
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        part = data if span is None else data[int(span[1]) : int(span[2] or len(data)) + 1]
        return self.answer(200 if span is None else 206, part, {"ETag": tag, "X-Repo-Commit": self.commit})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """What ``paths-info`` says of some files."""
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(200, json.dumps([self._entry(name) for name in told["paths"] if name in self.files]).encode())

    def _tree(self, folder: str, below: bool) -> None:
        names = [name.removeprefix(folder) for name in self.files if name.startswith(folder)]
        if not names:
            return self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        parts = [name.split("/") for name in names]
        depths = {"/".join(part[:depth]) for part in parts for depth in range(1, len(part))}
        folders = sorted(name for name in depths if below or "/" not in name)
        entries = [{"type": "directory", "path": folder + name, "oid": "0" * 40} for name in folders]
        entries += [self._entry(folder + name) for name in names if below or "/" not in name]
        return self.answer(200, json.dumps(entries).encode())

    def _entry(self, name: str) -> dict[str, Any]:
        data = self.files[name]
        return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}


@contextmanager
def hub_server(monkeypatch: Any, folder: Path, repository: str = "datasets/owner/name") -> Iterator[type[Hub]]:
    """A Hub with the files of a folder as a repository, where huggingface_hub looks for it."""
    from huggingface_hub import HfFileSystem, constants

    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    handler = type("Hub", (Hub,), {"repository": repository, "files": files, "asked": []})
    with serving(handler) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        HfFileSystem.clear_instance_cache()
        try:
            yield handler
        finally:
            HfFileSystem.clear_instance_cache()
