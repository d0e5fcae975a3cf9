"""The lock on an output behind a URL, where no system locks files: every process at work there has a lease of its own.

    .generation.lease-00000.json     of part 0: the job, the process, and a number that goes up as long as it lives

Who comes puts its lease there, which of two that do so at once only one can, where the store knows the condition
``If-None-Match: *``, and looks at the others afterwards: of two jobs at least one sees the other. A lease whose number
stands still for ``LAST`` seconds is that of a process that was killed, or cut off from the store, and is taken away;
that a process of this machine has ended is seen at once. No clock is compared with another's.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from dimvida import interruption
from dimvida.errors import DimvidaError, InputError, thread_errors
from dimvida.generation.lock import FolderBusy
from dimvida.generation.storage import RemotePath

BEAT, LAST = 15.0, 60.0
"""Seconds after which a lease is renewed, and after which one that is not has ended."""

_LOOK = 1.0  # seconds between looks at a lease of which it is not known whether it still is one
_LED = ".generation.lease-00000.json"  # of the first process of a run
_LEASE = re.compile(r"\.generation\.lease-\w+\.json")  # what a folder that has nothing else may have, see ``output``


class Lease:
    """This process is one of a job that the output belongs to, as that of ``FolderLock`` for folders.

    Args:
        folder: The output's folder, behind a URL.
        job: Name of the job, the same for all of its processes.
        part: The part of the job that is this process's; None for none of its own.
        pending: Gives the shards that are not finished.
        first: Called before it is at work; None to come in only beside another process of the job.

    Raises:
        InputError: Another job is at work in the output (``FolderBusy``), or another process on this part.
        DimvidaError: There is no other process of the job.
    """

    def __init__(
        self,
        folder: RemotePath,
        job: str,
        part: int | None,
        pending: Callable[[], list],
        first: Callable[[], object] | None,
    ) -> None:
        self.folder, self._pending = folder, pending
        self._job, self._token, self._number = job, uuid.uuid4().hex, 0
        self._own = folder / f".generation.lease-{self._token if part is None else f'{part:05d}'}.json"
        self._still: dict[str, tuple[dict[str, Any], float]] = {}  # leases by name, and since when they stand still
        self._left = threading.Event()
        self._beating: threading.Thread | None = None
        while not self._put():
            self._outlast(self._own)
        try:
            for place in self._others():
                self._outlast(place)
            self.check()  # a store that does not know the condition has let another one put its own over it
            if first is not None:
                first()
            elif not self._living_others():
                raise DimvidaError(f"{self.folder}: whoever gave this work has ended")
            beating = threading.Thread(target=self._beat, name="lease", daemon=True)
            with thread_errors():
                beating.start()
            self._beating = beating
        except BaseException:
            self.release()
            raise

    def be_alone(self) -> bool:
        """Whether no other process of the job is at work, or none has anything left to make."""
        return not self._living_others() or not self._pending()

    def take(self, part: int) -> bool:
        """Take a shard, which is always free: two that make the same one put the same there, whole."""
        return True

    def give_back(self, part: int) -> None:
        """Do nothing: no shard is kept from others by a lease."""

    def check(self) -> None:
        """Raise DimvidaError if the lease was removed, or taken away while this process stood still."""
        if not self._is_own():
            raise DimvidaError(f"{self.folder}: was removed, or taken over by another run; run the command again")

    def release(self) -> None:
        """Leave. Nothing where that was done."""
        self._left.set()
        if self._beating is not None:
            self._beating.join(BEAT)
        with suppress(DimvidaError):  # whoever comes next sees that it stands still
            if self._is_own():
                self._own.unlink(missing_ok=True)

    def _put(self) -> bool:
        """Put the lease there; False if there is one."""
        return self._own.create(self._content()) or self._is_own()  # an answer may have been lost, and it asked again

    def _content(self) -> bytes:
        lease = {"job": self._job, "token": self._token, "process": _process(os.getpid()), "number": self._number}
        return json.dumps(lease).encode()

    def _is_own(self) -> bool:
        lease = _read(self._own)
        return lease is not None and lease.get("token") == self._token

    def _others(self) -> list[RemotePath]:
        return [self.folder / name for name in sorted(self.folder.names()) if self._is_other(name)]

    def _living_others(self) -> list[RemotePath]:
        return [place for place in self._others() if self._living(place) is not None]

    def _is_other(self, name: str) -> bool:
        return _LEASE.fullmatch(name) is not None and name != self._own.name

    def _outlast(self, place: RemotePath) -> None:
        """Wait until a lease of another job, or one for the same part, is no more.

        Raises:
            InputError: It is renewed.
        """
        lease = self._living(place)
        same_job = lease is not None and lease.get("job") == self._job
        if same_job and place is not self._own:
            return
        busy = FolderBusy(self.folder, led=place.name == _LED)
        if same_job:
            busy = InputError(f"{self.folder}: another process of this job makes these shards; wait for it")
        while lease is not None and (now := self._living(place)) is not None:
            if now != lease or _runs(now.get("process")):
                raise busy
            interruption.check()
            time.sleep(_LOOK)

    def _living(self, place: RemotePath) -> dict[str, Any] | None:
        """A lease that has not stood still for too long; one that has is removed."""
        lease, now = _read(place), time.monotonic()
        before, since = self._still.get(place.name, (None, now))
        if lease is None:
            return None
        if lease == before and (now - since > LAST or _runs(lease.get("process")) is False):
            place.unlink(missing_ok=True)
            return None
        if lease != before:
            self._still[place.name] = lease, now
        return lease

    def _beat(self) -> None:
        while not self._left.wait(BEAT):
            with suppress(DimvidaError):  # what cannot be reached now may be the next time
                if not self._is_own():
                    return
                self._number += 1
                self._own.write_bytes(self._content())


def require_unrenewed(folder: RemotePath, before: dict[str, Any] | None) -> dict[str, Any] | None:
    """The lease of the first process of a run at an output, or None.

    Raises:
        FolderBusy: It is at work: its process runs here, or its lease is not what it was (``before``, unless None).
    """
    lease = _read(folder / _LED)
    if lease is not None and (_runs(lease.get("process")) or before not in (None, lease)):
        raise FolderBusy(folder, led=True)
    return lease


def _read(place: RemotePath) -> dict[str, Any] | None:
    """A lease; None where there is none. What is none that this version knows stands still for ever."""
    try:
        lease = json.loads(place.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        lease = None
    return lease if isinstance(lease, dict) else {}


def _process(number: int) -> list[str] | None:
    """What tells a process from all others: where its number is one, the number, and when it began."""
    try:
        with open(f"/proc/{number}/stat") as file:
            state, *fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else [_machine(), str(number), fields[18]]


@cache
def _machine() -> str:
    """A name of this machine as long as it runs, and of the container, whose processes have numbers of their own."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        return f"{file.read().strip()} {os.stat('/proc/self/ns/pid').st_ino}"
    return ""


def _runs(process: object) -> bool | None:
    """Whether a process runs; None where that is not seen from here, and of this one, which may have left a lease."""
    if not isinstance(process, list) or len(process) != 3 or process[0] != _machine() or not _machine():
        return None
    if process[1] == str(os.getpid()):
        return None
    return process[1].isdecimal() and _process(int(process[1])) == process
