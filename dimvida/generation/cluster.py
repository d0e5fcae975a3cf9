"""The shards of a plan made by workers of a Ray cluster, and handed out by this process, the driver.

A worker is an actor that holds the model, on a GPU of its own or on some cores. Ray places and starts them; the driver
gives each a few shards at a time, so that its stages overlap from one shard to the next, and hears of each that is
finished. A worker that is lost costs the shards in its hands: they are given to others, and Ray is asked for another
worker. Nothing else is kept anywhere, so a driver that is lost is started again, and finds in the output what is done.

The plan and the model are put into Ray's object store once; the workers of a node share the arrays of the plan there.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError

from dimvida import interruption
from dimvida.data.names import counted
from dimvida.errors import DimvidaError, InputError
from dimvida.generation.pipeline import StageTimes
from dimvida.generation.plan import Shard
from dimvida.generation.run import Generation, MadeBatch
from dimvida.generation.settings import GenerationSettings
from dimvida.generation.trial import FindBatch, settings_with_batch
from dimvida.sampling.multiview import MultiViewModel

LARGEST_LEASE = 16
"""Shards that a worker is given at once, at most; fewer towards the end, so that all end together."""

ATTEMPTS = 10
"""Workers that may be lost with the same shard in their hands, before the shard is taken for the reason."""

PATIENCE = 60.0
"""Seconds that processes of a driver or a worker that was lost may take to end, and to give back their locks."""

_CONNECT = 10.0  # seconds in which a cluster must answer
_POLL = 0.1  # seconds between looks at signals
_GROWTH = 5.0  # seconds between looks at what the cluster has room for

Run = tuple[list[Any], str]
"""What workers are told: a reference to the ``Generation``, in a list, and where its paths may be relative to."""


class ShardMade(NamedTuple):
    """What a worker says of a shard that is finished: its views, files that could not be read, and why, and notes."""

    number: int
    views: int
    skipped: list[tuple[str, str]]
    notes: list[str]


class ShardWorker:
    """An actor: makes shards of a run whose folder another process, the driver, has locked."""

    def take_up(self, run: Run) -> None:
        """Be ready to work on a run."""
        (reference,), place = run
        try:
            os.chdir(place)
        except OSError as error:
            raise DimvidaError(f"{place}: not there on {os.uname().nodename} ({error.strerror})") from None
        generation: Generation = ray.get(reference)
        generation.model.to(generation.settings.device)
        generation.times = StageTimes(generation.model.device)
        generation.output.open(generation.job.name, part=None, joins=True)
        self._generation = generation

    def make(self, numbers: Sequence[int]) -> Iterator[ShardMade]:
        """Make some shards, and say of each that it is finished."""
        generation, skipped, notes, views = self._generation, [], [], 0
        shards = (self._taken(generation.shards[number]) for number in numbers)
        try:
            with closing(generation.make(shards, lambda *file: skipped.append(file), notes.append)) as batches:
                for batch in batches:
                    views += batch.views
                    if batch.finished is not None:
                        yield ShardMade(batch.finished.number, views, skipped, notes)
                        skipped, notes, views = [], [], 0
        except DimvidaError as error:  # of whatever kind: not all can be sent
            kind = InputError if isinstance(error, InputError) else DimvidaError
            raise kind(str(error)) from None
        finally:
            for number in numbers:
                generation.output.lock.give_back(1 + number)

    def leave(self) -> None:
        """Give back what it has of the lock."""
        self._generation.output.close()

    def _taken(self, shard: Shard) -> Shard:
        """A shard, once no other worker has it; one that is lost to the driver may still be at it."""
        until = time.monotonic() + PATIENCE
        while not self._generation.output.lock.take(1 + shard.number):  # part 0 is the driver's
            if time.monotonic() > until:
                raise DimvidaError(f"{shard.stem}: a worker that the cluster has lost is still writing it")
            time.sleep(_POLL)
        return shard


@contextmanager
def ray_cluster(address: str, cpus: int | None) -> Iterator[RayCluster]:
    """A cluster that this process drives, while entered.

    Args:
        address: As ``ray.init`` takes it. Empty: that of ``RAY_ADDRESS``, as under ``ray job submit``, or a cluster of
            this machine; where there is none, Ray starts one here.
        cpus: Cores of a worker, which then has no GPU; None for a GPU each.

    Raises:
        InputError: There is no such cluster.
    """
    _require_there(address or os.environ.get("RAY_ADDRESS", ""))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that is started here: it tells nobody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # and prints no advice about that
    before = {number: signal.getsignal(number) for number in interruption.SIGNALS}
    try:
        ray.init(address or None, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    except Exception as error:  # of many kinds, bare ones among them
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"--ray {address}: no cluster can be reached or started ({reason})") from error
    finally:
        for number, handler in before.items():  # Ray sets its own for SIGTERM
            signal.signal(number, handler)
    try:
        yield RayCluster(cpus)
    finally:
        ray.shutdown()


def _require_there(address: str) -> None:
    """Raise InputError for an address where nobody is; Ray would try for minutes, and print lines about it."""
    if address in ("", "auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise InputError(f"--ray {address}: give HOST:PORT of the cluster's head, 'auto' or 'local'")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise InputError(f"--ray {address}: no cluster can be reached ({error})") from None


class RayCluster:
    """The cluster that ``ray_cluster`` has entered, with workers of so many cores, or of a GPU each for None."""

    def __init__(self, cpus: int | None) -> None:
        self.needs = {"num_cpus": cpus or 1, "num_gpus": int(cpus is None)}

    def settings(self, model: MultiViewModel, options: Mapping[str, Any], find_batch: FindBatch) -> GenerationSettings:
        """What ``settings_with_batch`` gives where a worker is.

        Raises:
            InputError: As ``resolve_settings``; or no node has room for a worker, or its GPU cannot be used.
            DimvidaError: No worker could be started.
        """
        device = "cuda" if self.needs["num_gpus"] else "cpu"
        if not self.room():
            lacking = {"cuda": "a GPU; give --cpus-per-worker N", "cpu": counted(self.needs["num_cpus"], "core")}
            raise InputError(f"--ray: no node of the cluster has {lacking[device]}")
        resolving = ray.remote(_resolve).options(**self.needs).remote(model, device, options, find_batch)
        while not ray.wait([resolving], timeout=_POLL)[0]:
            interruption.check()
        return _answer(resolving)

    def room(self) -> int:
        """Workers that the cluster's nodes have room for, if nobody else uses them."""
        there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cpus, gpus = self.needs["num_cpus"], self.needs["num_gpus"]
        return sum(int(min(node.get("CPU", 0) // cpus, node.get("GPU", 0) if gpus else math.inf)) for node in there)

    def make(
        self,
        generation: Generation,
        shards: Iterator[Shard],
        on_skip: Callable[[str, str], object],
        on_note: Callable[[str], object],
        idle: Callable[[], object],
    ) -> Iterator[MadeBatch]:
        """Make shards of a run on the workers; given the run, it stands in for ``Generation.make``."""
        left = deque(shards)
        with closing(_Crew(self, generation, on_note)) as crew:
            while left or crew.leases:
                crew.grow(len(left))
                crew.lease(left)
                for made in crew.hear(left):
                    for file in made.skipped:
                        on_skip(*file)
                    for text in made.notes:
                        on_note(text)
                    yield MadeBatch(made.views, generation.shards[made.number])
                idle()
                interruption.check()
            crew.leave()


class _Crew:
    """The workers of a run, and the shards in their hands: what tells of these -> the worker and its shards."""

    def __init__(self, cluster: RayCluster, generation: Generation, on_note: Callable[[str], object]) -> None:
        self.leases: dict[Any, tuple[Any, dict[int, Shard]]] = {}
        self._actor, self._room = ray.remote(ShardWorker).options(**cluster.needs), cluster.room
        self._run, self._on_note = ([ray.put(generation)], os.getcwd()), on_note
        self._starting: dict[Any, Any] = {}  # what says that a worker is there -> the worker
        self._free: list[Any] = []
        self._lost: Counter[Shard | None] = Counter()  # workers, by what they were at
        self._looked = -math.inf

    def grow(self, shards: int) -> None:
        """Ask for as many workers as there is room for, and one more, which tells a cluster that can grow to do so."""
        if time.monotonic() < self._looked + _GROWTH:
            return
        self._looked = time.monotonic()
        for _ in range(min(self._room() + 1, shards) - len(self._starting) - len(self._free) - len(self.leases)):
            worker = self._actor.remote()
            self._starting[worker.take_up.remote(self._run)] = worker

    def lease(self, left: deque[Shard]) -> None:
        """Give shards to those that have none."""
        while left and self._free:
            size = max(1, min(LARGEST_LEASE, len(left) // (2 * (len(self._free) + len(self.leases)))))
            given = {shard.number: shard for shard in [left.popleft() for _ in range(size)]}
            worker = self._free.pop()
            self.leases[worker.make.options(num_returns="streaming").remote(list(given))] = worker, given

    def hear(self, left: deque[Shard]) -> Iterator[ShardMade]:
        """What they have to say at the moment, or DimvidaError; shards of those that are lost are left again."""
        told, _ = ray.wait([*self._starting, *self.leases], num_returns=1, timeout=_POLL)
        for ref in told:
            worker, shards = self.leases.get(ref) or (self._starting.pop(ref), {})
            try:
                if ref in self.leases:
                    made = _answer(next(ref))
                    del shards[made.number]
                    yield made
                    continue
                _answer(ref)
                self._lost[None] = 0
                self._free.append(worker)
            except StopIteration:
                self._free.append(worker)
            except RayError as error:  # the worker is lost, and another one will be asked for
                self._bury(next(iter(shards.values()), None), error)  # shards after the first are read at most
                left.extendleft(reversed(shards.values()))
            self.leases.pop(ref, None)

    def leave(self) -> None:
        """Let those that have nothing left leave in order."""
        if self._free:
            ray.wait([worker.leave.remote() for worker in self._free], num_returns=len(self._free), timeout=PATIENCE)

    def close(self) -> None:
        """End all workers."""
        for worker in [*self._starting.values(), *self._free, *(worker for worker, _ in self.leases.values())]:
            with suppress(RayError):
                ray.kill(worker)

    def _bury(self, shard: Shard | None, error: RayError) -> None:
        self._looked, self._lost[shard] = -math.inf, self._lost[shard] + 1
        where = shard.stem if shard else "at the start"
        if self._lost[shard] == ATTEMPTS:
            raise DimvidaError(f"--ray: {ATTEMPTS} workers were lost, {where}: {_line(error)}") from error
        self._on_note(f"a worker was lost, {where}; another one goes on")


def _answer(ref: Any) -> Any:
    """The value of a reference that has one; DimvidaError if what was asked for failed, RayError if it was lost."""
    try:
        return ray.get(ref)
    except RayTaskError as error:
        if isinstance(error.cause, DimvidaError):
            raise error.cause from None
        raise DimvidaError(f"a worker of the cluster failed: {_line(error)}") from error


def _line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2].strip()


def _resolve(
    model: MultiViewModel, device: str, options: Mapping[str, Any], find_batch: FindBatch
) -> GenerationSettings:
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--ray: PyTorch on {os.uname().nodename} cannot use the GPU that the cluster says it has "
            f"({str(error).partition('. ')[0]}); give --cpus-per-worker N"
        ) from None
    return settings_with_batch(model, options, find_batch)
