"""Where an output goes: a folder of this machine, as a ``Path``, or one behind a URL, which answers as a path does.

Object stores have no names that change, no locks and no half-written objects: what is put there is there whole or not
at all. So a shard is written to a file without a name in the temporary folder and put there when it is done; a process
that is killed leaves nothing, neither here nor there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from dimvida.errors import DimvidaError, InputError
from dimvida.files import atomic_write, require_writable_folder
from dimvida.remote import filesystem, one_line, shown, url_of

_WHOLE = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
"""Protocols whose objects are there whole or not at all."""

_PROBE = ".generation.probe.json"


class _Status(NamedTuple):
    st_size: int


class RemotePath:
    """A place behind a URL, with what an output needs of a ``Path``. It has no folders but by the names of its files.

    Errors other than ``FileNotFoundError`` are those of ``dimvida.remote``.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url}/{name}")

    def __str__(self) -> str:
        return shown(self.url)

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rpartition("/")[2]

    def names(self) -> set[str]:
        """The names of all files in it."""
        system, path = filesystem(self.url)
        with self._reading():
            system.invalidate_cache()
            with suppress(FileNotFoundError):
                return {str(found).rstrip("/").rpartition("/")[2] for found in system.ls(path, detail=False)} - {""}
        return set()

    def exists(self) -> bool:
        """Whether there is such a file."""
        with suppress(FileNotFoundError):
            self.stat()
            return True
        return False

    def stat(self) -> _Status:
        """Ask for its size, if there is such a file."""
        system, path = filesystem(self.url)
        with self._reading():
            system.invalidate_cache()
            return _Status(system.info(path)["size"])

    def read_bytes(self) -> bytes:
        """What is in it."""
        system, path = filesystem(self.url)
        with self._reading():
            return system.cat_file(path)

    def open(self, mode: str) -> IO[bytes]:
        """Open it for reading, whatever the file system calls that."""
        system, path = filesystem(self.url)
        with self._reading():
            system.invalidate_cache()
            return system.open(path, mode)

    def write_bytes(self, data: bytes) -> None:
        """Put something there, whole."""
        system, path = filesystem(self.url)
        with one_line(self.url):
            system.pipe_file(path, data)

    def create(self, data: bytes) -> bool:
        """Put something there where nothing is; False where something is.

        Where the store does not know that condition, of two that do so at once both may, and the last one's is there.
        """
        system, path = filesystem(self.url)
        if self.exists():
            return False
        with one_line(self.url):
            try:
                system.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            except (TypeError, NotImplementedError):  # a file system of fsspec that takes no mode, or not this one
                system.pipe_file(path, data)
        return True

    def put(self, file: Path) -> None:
        """Put a file of this machine there, whole."""
        system, path = filesystem(self.url)
        with one_line(self.url):
            system.put_file(str(file), path)

    def abort_uploads(self) -> None:
        """Give up what processes that were killed had begun to put in it: parts, which no listing shows but are paid.

        Only S3 has such. Where the user may not ask for them, the bucket's lifecycle rules must remove them.
        """
        system, path = filesystem(self.url)
        if not hasattr(system, "abort_mpu"):
            return
        bucket, prefix, _ = system.split_path(f"{path}/")
        with suppress(DimvidaError), one_line(self.url):
            begun = system.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix).get("Uploads", [])
            for upload in begun:
                if "/" not in upload["Key"].removeprefix(prefix):
                    system.abort_mpu(bucket, upload["Key"], upload["UploadId"])

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file."""
        system, path = filesystem(self.url)
        with suppress(FileNotFoundError), self._reading():
            system.rm_file(path)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        missing = None
        with one_line(self.url):
            try:
                yield
            except FileNotFoundError as error:
                missing = error
        if missing is not None:
            raise missing


Place = Path | RemotePath


def output_place(text: str | Path) -> Place:
    """The place that a user names, a folder or a URL.

    Raises:
        InputError: What is put at such a URL would be visible before it is whole.
    """
    url = url_of(text) if isinstance(text, str) else None
    if url is None:
        return Path(text)
    protocol, _, rest = url.partition("://")
    if protocol == "file":
        return Path(rest)
    if protocol not in _WHOLE:
        raise InputError(
            f"--out {shown(url)}: files appear there before they are whole; take s3://, gs:// or az://, or a folder"
        )
    if not rest.strip("/"):
        raise InputError(f"--out {shown(url)}: name a bucket, as {protocol}://bucket/folder")
    return RemotePath(url)


def require_writable_place(folder: Place) -> None:
    """Find out now, rather than after long work, whether something can be put there; nothing is left.

    Raises:
        InputError: It cannot, or there is no such bucket.
        DimvidaError: The store cannot be reached.
    """
    if isinstance(folder, Path):
        require_writable_folder("--out", folder)
        return
    system, path = filesystem((folder / _PROBE).url)
    with one_line(folder.url):  # which is what the user has named
        try:
            system.pipe_file(path, b"{}")
            system.rm_file(path)
        except FileNotFoundError:
            raise InputError(f"--out {folder}: there is no such bucket, and none is made") from None


@contextmanager
def output_errors(folder: Place) -> Iterator[None]:
    """Turn the system's errors into one line about the output folder."""
    try:
        yield
    except (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(f"{error.filename or folder}: cannot be written ({error.strerror})") from error
    except FileNotFoundError as error:
        gone = isinstance(folder, Path) and not folder.exists()
        what = "was removed while the run was writing to it" if gone else f"lost {error.filename or error}"
        raise DimvidaError(f"{folder}: {what}; run the command again") from error
    except OSError as error:
        where = f" in {tempfile.gettempdir()}" if isinstance(folder, RemotePath) else ""
        raise DimvidaError(
            f"{folder}: writing failed ({error.strerror or error}{where}); the same command continues"
        ) from error


def write_whole(path: Place, data: bytes | str) -> None:
    """Write a file that is there whole or as it was."""
    if isinstance(path, RemotePath):
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    else:
        atomic_write(path, data)


@contextmanager
def local_file(path: Place) -> Iterator[Path]:
    """A file of this machine with the content of one that may be elsewhere, for as long as this lasts."""
    if isinstance(path, Path):
        yield path
        return
    system, place = filesystem(path.url)
    with tempfile.TemporaryDirectory(prefix="dimvida-") as folder:
        with path._reading():
            system.get_file(place, f"{folder}/{path.name}")
        yield Path(folder) / path.name
