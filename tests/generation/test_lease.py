"""Leases on outputs behind URLs: who is let in, who is refused, and what those leave that were killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dimvida.errors import DimvidaError, InputError
from dimvida.generation import lease
from dimvida.generation.jobs import look_out
from dimvida.generation.lease import Lease, _process
from dimvida.generation.lock import FolderBusy
from dimvida.generation.storage import RemotePath, output_place

fsspec = pytest.importorskip("fsspec")
ANOTHER_RUN = "memory://outputs/one: another run is writing to it; wait for it, or choose another --out"


@pytest.fixture
def place() -> Iterator[RemotePath]:
    yield output_place("memory://outputs/one")
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def enter(place: RemotePath) -> Iterator[Callable[..., Lease]]:
    """Makes leases, which end with the test."""
    made: list[Lease] = []

    def make(
        job: str,
        part: int | None = 0,
        first: Callable[[], object] | None = lambda: None,
        pending: tuple[int, ...] = (0,),
    ) -> Lease:
        made.append(Lease(place, job, part, lambda: list(pending), first))
        return made[-1]

    yield make
    for one in made:
        one.release()


def put(place: RemotePath, job: str, part: int = 0, **told: Any) -> RemotePath:
    """A lease of a process that is not seen from here."""
    other = place / f".generation.lease-{part:05d}.json"
    other.write_bytes(json.dumps({"job": job, "token": "another", "process": None, "number": 0, **told}).encode())
    return other


def test_what_is_left_is_nothing(place: RemotePath, enter):
    seen: list[set[str]] = []
    own = enter("job", 3, first=lambda: seen.append(place.names()))
    assert seen == [{".generation.lease-00003.json"}] and own.be_alone()
    own.check()
    own.release()
    own.release()
    assert place.names() == set()


def test_processes_of_a_job_come_in_and_each_part_is_there_once(place: RemotePath, enter, monkeypatch):
    first = enter("array of 3", 0)
    second, plain = enter("array of 3", 2), enter("array of 3", None)
    assert len(place.names()) == 3 and not first.be_alone()
    renewed(monkeypatch, place / ".generation.lease-00002.json")
    with pytest.raises(InputError, match="another process of this job makes these shards; wait for it"):
        enter("array of 3", 2)
    second.check()
    second.release()
    plain.release()
    assert first.be_alone()


def renewed(monkeypatch, place: RemotePath) -> None:
    """While another process waits, the number of a lease goes up."""

    def sleep(seconds: float) -> None:
        told = json.loads(place.read_bytes())
        place.write_bytes(json.dumps({**told, "number": told["number"] + 1}).encode())

    monkeypatch.setattr(lease.time, "sleep", sleep)


@pytest.mark.parametrize("part", [0, 1])
def test_another_job_that_lives_is_not_disturbed(place: RemotePath, enter, monkeypatch, part: int):
    other = put(place, "another", part)
    renewed(monkeypatch, other)
    with pytest.raises(FolderBusy, match=ANOTHER_RUN) as busy:
        enter("job", first=lambda: pytest.fail("came in"))
    assert place.names() == {other.name} and busy.value.led == (part == 0)


def test_whoever_waits_elsewhere_sees_that_a_first_process_is_at_work(place: RemotePath, enter):
    look = look_out(place)
    look()
    put(place, "another", 1)
    look()
    put(place, "another", number=3)
    look()
    look()  # it may have been killed: it stands still
    put(place, "another", number=4)
    with pytest.raises(FolderBusy, match=ANOTHER_RUN):
        look()


def test_a_first_process_of_this_machine_is_seen_at_once(place: RemotePath):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as living:
        put(place, "another", process=_process(living.pid))
        with pytest.raises(FolderBusy, match=ANOTHER_RUN):
            look_out(place)()
        living.communicate(b"\n")
    look_out(place)()


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{}"], ids=["lease", "empty", "list", "nothing"])
@pytest.mark.parametrize("part", [0, 1])
def test_a_lease_that_stands_still_has_ended(place: RemotePath, enter, monkeypatch, part: int, content: bytes | None):
    other, waits = put(place, "another", part), []
    if content is not None:
        other.write_bytes(content)
    now = lease.time.monotonic()
    monkeypatch.setattr(lease.time, "sleep", waits.append)
    monkeypatch.setattr(lease.time, "monotonic", lambda: now + 10 * len(waits))
    own = enter("job")
    assert sum(waits) == 7 * lease._LOOK and place.names() == {".generation.lease-00000.json"}
    own.check()


def test_a_process_of_this_machine_is_known_to_live_or_not(place: RemotePath, enter, monkeypatch):
    monkeypatch.setattr(lease.time, "sleep", lambda seconds: pytest.fail("waited"))
    program = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        other = put(place, "another", process=_process(process.pid))
        with pytest.raises(InputError, match=ANOTHER_RUN):
            enter("job")
        assert place.names() == {other.name}
        process.kill()
        while _process(process.pid) is not None:
            process.poll()
        enter("job").check()


def test_a_killed_process_of_the_job_does_not_count(place: RemotePath, enter):
    own = enter("job")
    machine, number, began = _process(1)
    other = put(place, "job", 1, process=[machine, number, f"{began}0"])  # the number is another process's now
    assert not own.be_alone()
    assert own.be_alone() and not other.exists()


def test_where_nothing_is_left_nobody_is_awaited(place: RemotePath, enter):
    own = enter("job", pending=())
    other = put(place, "job", 1)
    assert own.be_alone() and other.exists()


def test_who_only_joins_finds_another_process_of_the_job(place: RemotePath, enter):
    with pytest.raises(DimvidaError, match="memory://outputs/one: whoever gave this work has ended"):
        enter("job", None, first=None)
    assert place.names() == set()
    enter("job")
    enter("job", None, first=None).check()


@pytest.mark.parametrize("what", ["removed", "another's"])
def test_a_lease_that_is_lost_is_noticed_and_left_alone(place: RemotePath, enter, what: str):
    own = enter("job")
    if what == "removed":
        (place / ".generation.lease-00000.json").unlink()
    else:
        put(place, "another")
    left = {name: (place / name).read_bytes() for name in place.names()}
    with pytest.raises(DimvidaError, match="memory://outputs/one: was removed, or taken over by another run"):
        own.check()
    own.release()
    assert {name: (place / name).read_bytes() for name in place.names()} == left


def test_the_number_goes_up_until_it_is_left(place: RemotePath, monkeypatch):
    written = threading.Semaphore(0)
    write = RemotePath.write_bytes

    def note(path: RemotePath, data: bytes) -> None:
        write(path, data)
        written.release()

    monkeypatch.setattr(lease, "BEAT", 0.001)
    monkeypatch.setattr(RemotePath, "write_bytes", note)
    own = Lease(place, "job", 0, list, lambda: None)
    assert all(written.acquire(timeout=60) for _ in range(3))
    assert json.loads((place / ".generation.lease-00000.json").read_bytes())["number"] >= 2
    monkeypatch.setattr(lease, "BEAT", 60.0)  # for which it is waited now
    own.release()
    assert place.names() == set() and "lease" not in {thread.name for thread in threading.enumerate()}


def test_it_is_left_where_the_beginning_fails(place: RemotePath, enter):
    def fail() -> None:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        enter("job", first=fail)
    assert place.names() == set()


def test_it_is_left_where_no_thread_can_be_started(place: RemotePath, enter, monkeypatch):
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(DimvidaError, match=r"\(ulimit -u\)$"):
        enter("job")
    assert place.names() == set()
