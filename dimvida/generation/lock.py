"""Locks on an output folder. They are the system's own (flock), so a crash leaves none behind.

A lock file is opened, locked, and then compared with what is at its path: whoever removes lock files does it
while holding them, so a lock on a removed file is worth nothing and is taken again on the new one.

The ``filelock`` package does less: it has no such lock that several processes share, leaves its files in the output,
takes a hard link or a pipe for a lock file, and turns to files that outlive a crash where there is no flock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from dimvida.errors import DimvidaError, InputError

LOCK, GATE = ".generation.lock", ".generation.gate"

_opened: set[int] = set()  # lock files that this process has open


class FileLock:
    """An exclusive lock on one file, which is made and removed with it.

    Args:
        path: The lock file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def acquire(self, *, wait: bool = False) -> bool:
        """Take the lock; False if another process (or another lock of this one) has it and ``wait`` is not set."""
        while True:
            handle = _open(self.path)
            if not _lock_exclusively(handle, wait):
                _close(handle)
                return False
            if _is_at(handle, self.path):
                self._handle = handle
                return True
            _close(handle)

    def release(self) -> None:
        """Remove the file and give the lock back; nothing where it is not held."""
        if self._handle is not None:
            if _is_at(self._handle, self.path):
                self.path.unlink(missing_ok=True)
            _close(self._handle)
            self._handle = None

    def __enter__(self) -> FileLock:
        self.acquire(wait=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class JobLock:
    """The folder belongs to one job: a process, or several that give the same name.

    Every process of the job holds the lock, so it lasts until the last of them ends.

    Args:
        folder: The output folder, which exists.
        job: Name of the job.
        first: Called by the job's first process, before any other comes in.

    Raises:
        InputError: Another job is at work in the folder.
    """

    def __init__(self, folder: Path, job: str, first: Callable[[], object] = lambda: None) -> None:
        self.folder = folder
        self._path = folder / LOCK
        with FileLock(folder / GATE):
            self._handle = _open(self._path)
            try:
                self._enter(job, first)
            except BaseException:
                _close(self._handle)
                raise

    def check(self) -> None:
        """Raise DimvidaError if the folder was removed, or replaced by another one, since the lock was taken."""
        if not _is_at(self._handle, self._path):
            raise DimvidaError(f"{self.folder}: was removed while the run was writing to it; run the command again")

    def release(self) -> None:
        """Leave; the last process of the job removes the lock file."""
        if not _is_at(self._handle, self._path):
            _close(self._handle)
            return
        with FileLock(self.folder / GATE):
            if _lock_exclusively(self._handle):
                self._path.unlink(missing_ok=True)
            _close(self._handle)

    def _enter(self, job: str, first: Callable[[], object]) -> None:
        if _lock_exclusively(self._handle):
            first()
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, job.encode(), 0)
        elif os.pread(self._handle, 4096, 0).decode(errors="replace") != job:
            raise InputError(f"{self.folder}: another run is writing to it; wait for it, or choose another --out")
        fcntl.flock(self._handle, fcntl.LOCK_SH)


def _lock_exclusively(handle: int, wait: bool = False) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> int:
    """Open a lock file, which is made if it is not there. What is written to it must reach no other file.

    Raises:
        InputError: Something else has its name: a link, a folder, a pipe.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _not_ours(path) from None
        raise
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(handle)
        raise _not_ours(path)
    _opened.add(handle)
    return handle


def _not_ours(path: Path) -> InputError:
    return InputError(f"{path}: is no lock file but a link or a special file; remove it")


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except OSError:
        return False


def _close(handle: int) -> None:
    if handle in _opened:
        _opened.discard(handle)
        os.close(handle)


def _close_inherited() -> None:
    # A lock lasts as long as anybody has its file open, so a forked process would keep it after a kill of this one.
    for handle in tuple(_opened):
        _close(handle)


os.register_at_fork(after_in_child=_close_inherited)
