"""Durable file writes: a reader sees the old content or the new one, never a part of it.

Errors of the system carry the name of the file that was to be written, also where a library that does the writing
turns them into something of its own.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from dimvida.errors import DimvidaError, InputError

_NAME_LIMIT = 255  # bytes of a name, on the usual file systems
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success fsync it and rename it onto ``path``.

    The temporary name keeps the suffix, because many writers choose a format by it. On an exception
    the temporary file is removed and ``path`` stays as it was. A symbolic link is replaced; what it
    leads to stays. Onto a device, a pipe, or this process's standard output the content is written
    at the end, and it stays what it is.

    Raises:
        OSError: It cannot be written; ``filename`` is ``path``.
    """
    path = Path(path)
    with _naming(path):
        if _is_stream(path):
            with tempfile.TemporaryDirectory() as folder:
                temporary = Path(folder) / f"content{path.suffix}"
                temporary.touch()
                yield temporary
                _write_through(temporary, path)
            return
        temporary = _make_temporary(path)
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            fsync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def atomic_file(path: str | Path) -> Iterator[IO[bytes]]:
    """As ``atomic_path``, but yield a binary file to write to.

    If writing to it fails (a full disk), that error is raised in place of whatever the library that
    was writing makes of it, as ``torch.save`` does.

    Raises:
        OSError: It cannot be written; ``filename`` is ``path``.
    """
    with atomic_path(path) as temporary:
        raw = _RememberingFile(temporary, "w+")
        try:
            with io.BufferedRandom(raw) as file:
                yield file
        except BaseException:
            if raw.error is not None:
                raise raw.error from None
            raise


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Write ``data`` (text as UTF-8) to ``path`` atomically.

    Raises:
        OSError: It cannot be written; ``filename`` is ``path``.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") if isinstance(path, (str, Path)) else path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def require_writable_file(option: str, path: Path | None) -> None:
    """Find out now, rather than after long work, whether a file can be written.

    Args:
        option: Where the user named it, such as ``--json``.
        path: The file; its folder must be there. A device or a pipe will do, and so does None, for no file.

    Raises:
        InputError: Nothing can be written at ``path``.
        DimvidaError: The disk is full or fails.
    """
    if path is None:
        return
    if os.path.isdir(path):
        raise InputError(f"{option} {path}: is a folder; name a file")
    folder = path.absolute().parent
    if not os.path.isdir(folder):
        raise InputError(f"{option} {path}: its folder does not exist")
    if _is_stream(path):
        if not os.access(path, os.W_OK):
            raise InputError(f"{option} {path}: no permission to write to it")
        return
    if len(os.fsencode(path.name)) > _NAME_LIMIT:
        raise InputError(f"{option} {path}: the name is longer than {_NAME_LIMIT} bytes; choose a shorter one")
    _require_room(option, path, folder)


def require_writable_folder(option: str, folder: Path) -> None:
    """Find out now, rather than after long work, whether a folder is, or can be made, there, and takes files.

    Nothing is left there; a folder that is not there is not made. The user named it by ``option``.

    Raises:
        InputError: It is not, or does not.
        DimvidaError: The disk is full or fails.
    """
    # Where permission is missing to look (os.path says no then), what counts is the folder above.
    place = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not os.path.isdir(place):
        subject = "" if place == folder else f"{place} "
        what = "is a file" if os.path.exists(place) else "is a link that leads nowhere"
        raise InputError(f"{option} {folder}: {subject}{what}; choose another {option}")
    _require_room(option, folder, place)


def make_folder(folder: Path) -> None:
    """Make a folder, and those around it, durably. One that is there is left as it is.

    Raises:
        OSError: It cannot be made.
    """
    missing = []
    for place in (folder, *folder.absolute().parents):
        if place.exists():
            break
        missing.append(place)
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        fsync_folder(place.absolute().parent)


@contextmanager
def exclusive_folder(folder: Path, taken: str) -> Iterator[None]:
    """Make a folder and keep other processes that ask the same out of it; the lock ends with this process.

    Raises:
        InputError: Another process has it, with ``taken`` as what is said of that; or the folder, which the user named
            by ``--out``, cannot be made or written to.
    """
    require_writable_folder("--out", folder)
    try:
        make_folder(folder)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"--out {folder}: {error.strerror}; choose another --out") from None
    try:
        take_lock(handle, f"{folder}: {taken}")
        yield
    finally:
        os.close(handle)


def take_lock(handle: int | IO[Any], taken: str) -> None:
    """Lock an open file or folder for this process alone, until it is closed or the process ends.

    Raises:
        InputError: Another process has it, with ``taken`` as its text.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # of any other kind: some network file systems have no locks
        if isinstance(error, BlockingIOError):
            raise InputError(taken) from None


def fsync_folder(folder: Path) -> None:
    """Force a folder's names to disk: without this a rename may be lost when the machine goes down."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:  # some network file systems cannot, and keep names without
            raise
    finally:
        os.close(handle)


class _RememberingFile(io.FileIO):
    """A file that keeps its first error of writing."""

    error: OSError | None = None

    def write(self, data: Any) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            self.error = self.error or error
            raise


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of the system name the file that was to be written, not a temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is None or not _is_about(error.filename, path):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _is_about(name: Any, path: Path) -> bool:
    """Whether an error's file is nothing in particular, or a temporary one beside ``path``."""
    if not isinstance(name, (str, os.PathLike)):
        return True
    return Path(name).absolute().parent == path.absolute().parent and Path(name).name.startswith(_start(path))


def _make_temporary(path: Path) -> Path:
    """A new, empty file beside ``path``. Unlike those of ``tempfile`` it has the permissions of the user's umask."""
    while True:
        temporary = path.with_name(f"{_start(path)}{secrets.token_hex(4)}{path.suffix}")
        with suppress(FileExistsError):
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
            return temporary


def _start(path: Path) -> str:
    room = _NAME_LIMIT - len(os.fsencode(path.suffix)) - 10  # two dots and eight digits
    return f".{os.fsencode(path.stem)[:room].decode(errors='ignore')}."


def _is_stream(path: Path) -> bool:
    """Whether a path is something to write into instead of replacing it: a device, a pipe, an open file's number."""
    try:
        status = path.stat()
    except OSError:
        return False
    if stat.S_ISDIR(status.st_mode):
        return False
    if not stat.S_ISREG(status.st_mode) or _descriptor(status) is not None:
        return True
    return path.parent.resolve().is_relative_to("/proc")  # /dev/fd/3 is there


def _descriptor(status: os.stat_result) -> int | None:
    """The number of this process's standard output or error, where a file is that."""
    for number in (1, 2):
        with suppress(OSError):
            if os.path.samestat(os.fstat(number), status):
                return number
    return None


def _write_through(source: Path, path: Path) -> None:
    number = _descriptor(path.stat())
    if number is not None:  # opened anew, what is printed before and after would be written over it
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    with open(source, "rb") as content, open(path if number is None else os.dup(number), "wb", buffering=0) as target:
        shutil.copyfileobj(content, target)


def _require_room(option: str, path: Path, folder: Path) -> None:
    """Make a file and fill it, one without a name where the file system has such."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
            file.flush()
            os.fsync(file.fileno())
    except PermissionError:
        raise InputError(f"{option} {path}: no permission to write in {folder}; choose another {option}") from None
    except OSError as error:
        kind = DimvidaError if error.errno in _NO_ROOM else InputError  # the command is right, so it may be repeated
        raise kind(
            f"{option} {path}: no file can be written in {folder} ({error.strerror or error}); choose another {option}"
        ) from None
