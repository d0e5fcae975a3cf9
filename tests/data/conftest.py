"""What tests of several forms of data look at, tar files, and a bucket of Google's."""

from __future__ import annotations

import io
import json
import socket
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dimvida.data.images import decode_image
from dimvida.data.source import MultiViewSource

WHITE = [255, 255, 255]


def left_out(source: MultiViewSource) -> dict[str, str]:
    """What a source has left out: ``name below its path -> reason``."""
    return {file.location.removeprefix(f"{source.path}/"): file.reason for file in source.left_out}


def gray_of(data: bytes) -> list[int]:
    """The first row of a picture that must be gray."""
    pixels = decode_image(data, "a").pixels
    assert (pixels == pixels[..., :1]).all()
    return pixels[0, :, 0].tolist()


def write_tar(
    path: Path, members: dict[str, bytes | str | dict], format: int = tarfile.DEFAULT_FORMAT, **fields: Any
) -> Path:
    """A tar file of members in order, whose headers may have other ``fields``; objects become JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format, errors="surrogateescape") as archive:
        for name, data in members.items():
            data = json.dumps(data) if isinstance(data, dict) else data
            data = data.encode() if isinstance(data, str) else data
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            for field, value in fields.items():
                setattr(entry, field, value)
            archive.addfile(entry, io.BytesIO(data))
    return path


@contextmanager
def gs_server(monkeypatch: Any) -> Iterator[Any]:
    """A file system of Google's storage whose server is an emulator, and an environment where others find it, too."""
    import gcsfs
    from gcp_storage_emulator.server import create_server

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True)
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    gcsfs.GCSFileSystem.clear_instance_cache()
    try:
        yield gcsfs.GCSFileSystem()
    finally:
        gcsfs.GCSFileSystem.clear_instance_cache()
        server.stop()
