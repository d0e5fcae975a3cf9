"""The lock on an output folder: one file, locked by the system, so a crash leaves nothing locked.

    byte 0        shared by all processes of a job; by one alone while it looks after what all of them share
    byte 1 + i    part i of the job's shards, by whoever makes them

So one job is at work at a time, no part of it twice, and nobody prepares the folder or puts its end together under
another's hands. The locks are those of open files (``F_OFD_SETLK``), which unlike those of processes exclude each other
within a process, too.

The file is opened, locked, and then compared with what is at its path: whoever removes it holds all of it, so a lock on
a removed file is worth nothing and is taken again on the new one. The ``filelock`` package locks whole files for one
process only, leaves them in the output, and takes a hard link or a pipe for one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dimvida import interruption
from dimvida.errors import DimvidaError, InputError

LOCK = ".generation.lock"
_SHARED, _FIRST_PART = 0, 1  # bytes
_FLOCK = "hhqqi4x"  # struct flock
_POLL = 0.02  # seconds

_opened: set[int] = set()  # lock files that this process has open


class FolderBusy(InputError):
    """Another run has the folder.

    Attributes:
        led: Whether its first process is at work. Without, it may be that of a driver which was lost: what it has
            left behind will end by itself.
    """

    def __init__(self, folder: object, led: bool) -> None:
        super().__init__(f"{folder}: another run is writing to it; wait for it, or choose another --out")
        self.led = led


class FolderLock:
    """This process is one of a job that the folder belongs to. It belongs to it until the last of them ends.

    Args:
        folder: The output folder, which exists.
        job: Name of the job, the same for all of its processes.
        part: The part of the job that is this process's; None for none of its own.
        first: Called by the job's first process, before any other comes in.

    Raises:
        InputError: Another job is at work in the folder, or another process on this part.
    """

    def __init__(
        self, folder: Path, job: str, part: int | None = 0, first: Callable[[], object] = lambda: None
    ) -> None:
        self.folder = folder
        self._path = folder / LOCK
        self._job = job.encode()
        self._handle: int | None = _open(self._path)
        try:
            while not self._enter(first):
                _close(self._handle)
                self._handle = _open(self._path)
            if part is not None and not self.take(part):
                raise InputError(f"{folder}: another process of this job makes these shards; wait for it")
        except BaseException:
            self.release()
            raise

    def take(self, part: int) -> bool:
        """Make a part this process's; False if it is another's."""
        return _lock(self._handle, fcntl.F_WRLCK, _FIRST_PART + part, 1)

    def give_back(self, part: int) -> None:
        """The part is nobody's."""
        _lock(self._handle, fcntl.F_UNLCK, _FIRST_PART + part, 1)

    def be_alone(self) -> bool:
        """Have the folder without the job's other processes, whose parts are done; False while one of them is there.

        Two that ask for it get it one after the other. It ends with ``release``.
        """
        _lock(self._handle, fcntl.F_UNLCK, _SHARED, 1)  # else two that ask would wait for each other
        return _lock(self._handle, fcntl.F_WRLCK, _SHARED, 1)

    def check(self) -> None:
        """Raise DimvidaError if the folder was removed, or replaced by another one, since the lock was taken."""
        if not _is_at(self._handle, self._path):
            raise DimvidaError(f"{self.folder}: was removed while the run was writing to it; run the command again")

    def release(self) -> None:
        """Leave; the last process of the job removes the lock file. Nothing where that was done."""
        if self._handle is None:
            return
        _lock(self._handle, fcntl.F_UNLCK, 0, 0)  # else two that leave would each take the other for one that stays
        if _is_at(self._handle, self._path) and _lock(self._handle, fcntl.F_WRLCK, 0, 0):
            with suppress(OSError):  # of a folder that is read-only by now: what ended the run says so
                self._path.unlink(missing_ok=True)
        _close(self._handle)
        self._handle = None

    def _enter(self, first: Callable[[], object]) -> bool:
        """Take byte 0; False if the file was removed meanwhile."""
        while True:
            if _lock(self._handle, fcntl.F_WRLCK, 0, 0):
                if not _is_at(self._handle, self._path):
                    return False
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, self._job, 0)
                first()
                _lock(self._handle, fcntl.F_RDLCK, _SHARED, 1)
                _lock(self._handle, fcntl.F_UNLCK, _FIRST_PART, 0)
                return True
            shared = _lock(self._handle, fcntl.F_RDLCK, _SHARED, 1)
            if not _is_at(self._handle, self._path):
                return False
            if shared and os.pread(self._handle, 4096, 0) != self._job:
                raise FolderBusy(self.folder, _is_locked(self._handle, _FIRST_PART))
            if shared:
                return True
            interruption.check()  # somebody is alone there, and the name that the file has may be an older one
            time.sleep(_POLL)


def require_unled(folder: Path) -> None:
    """Raise FolderBusy if the first process of a run is at work in a folder, which need not be there."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        if _is_locked(handle, _FIRST_PART):
            raise FolderBusy(folder, led=True)
    finally:
        os.close(handle)


def _is_locked(handle: int, byte: int) -> bool:
    """Whether another has a byte."""
    there = fcntl.fcntl(handle, fcntl.F_OFD_GETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
    return struct.unpack(_FLOCK, there)[0] != fcntl.F_UNLCK


def _lock(handle: int, kind: int, start: int, length: int) -> bool:
    """Lock or unlock some bytes, all from ``start`` on with length 0; False if another has some of them."""
    try:
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, start, length, 0))
    except (BlockingIOError, PermissionError):  # whichever the file system says
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
