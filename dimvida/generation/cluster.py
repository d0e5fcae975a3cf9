"""The shards of a plan made by workers of a Ray cluster, and handed out by this process, the driver.

A worker is an actor that holds the model, on a GPU of its own or on some cores. Ray places, starts and restarts them;
the driver gives each a few shards at a time, so that its stages overlap from one shard to the next, and hears of each
that is finished. A worker that is lost costs the shards in its hands: they are given to others. Nothing else is
kept anywhere, so a driver that is lost is started again, and finds in the output what is done.

The plan and the model are put into Ray's object store once; the workers of a node share the arrays of the plan there.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

from dimvida import interruption
from dimvida.errors import DimvidaError, InputError
from dimvida.generation.pipeline import StageTimes
from dimvida.generation.plan import Shard
from dimvida.generation.run import Generation, MadeBatch
from dimvida.generation.settings import GenerationSettings, resolve_settings
from dimvida.sampling.multiview import MultiViewModel

try:
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
except ImportError:
    raise InputError("--ray: needs Ray; pip install 'dimvida[ray]'") from None

LARGEST_LEASE = 16
"""Shards that a worker is given at once, at most; fewer towards the end, so that all end together."""

ATTEMPTS = 10
"""Workers that may be lost with the same shard in their hands, before the shard is taken for the reason."""

PATIENCE = 60.0
"""Seconds that processes of a driver or a worker that was lost may take to end, and to give back their locks."""

_POLL = 0.1  # seconds between looks at signals
_GROWTH = 10.0  # seconds between looks at what the cluster has room for


FindBatch = Callable[[MultiViewModel, GenerationSettings], int]
"""What ``--batch auto`` means for a model where it is, see ``best_batch``."""


class ShardMade(NamedTuple):
    """What a worker says of a shard that it has finished.

    Attributes:
        number: The shard.
        views: Its views.
        skipped: Files that could not be read, and why.
        notes: Lines about what else was done.
    """

    number: int
    views: int
    skipped: list[tuple[str, str]]
    notes: list[str]


class ShardWorker:
    """An actor: makes shards of a run whose folder another process, the driver, has locked.

    Args:
        generation: The run.
        place: Where the driver is, which paths may be relative to.
    """

    def __init__(self, generation: Generation, place: str) -> None:
        os.chdir(place)
        generation.model.to(generation.settings.device)
        generation.times = StageTimes(generation.model.device)
        self._generation = generation
        self._lock = generation.output.join(generation.job.name)

    def ready(self) -> None:
        """Nothing; answered once the worker is there, and again once it was restarted."""

    def make(self, numbers: Sequence[int]) -> Iterator[ShardMade]:
        """Make some shards, and say of each that it is finished."""
        generation, skipped, notes, views = self._generation, [], [], 0
        shards = (self._taken(generation.shards[number]) for number in numbers)
        try:
            with closing(generation.make(shards, lambda *file: skipped.append(file), notes.append)) as batches:
                for batch in batches:
                    views += batch.views
                    if batch.finished is not None:
                        yield ShardMade(batch.finished.number, views, skipped[:], notes[:])
                        views = 0
                        skipped.clear()
                        notes.clear()
        except DimvidaError as error:  # of whatever kind: not all can be sent
            kind = InputError if isinstance(error, InputError) else DimvidaError
            raise kind(str(error)) from None
        finally:
            for number in numbers:
                self._lock.give_back(1 + number)

    def _taken(self, shard: Shard) -> Shard:
        """A shard, once no other worker has it; one that is lost to the driver may still be at it."""
        until = time.monotonic() + PATIENCE
        while not self._lock.take(1 + shard.number):  # part 0 is the driver's
            if time.monotonic() > until:
                raise DimvidaError(f"{shard.stem}: a worker that the cluster has lost is still writing it")
            time.sleep(_POLL)
        return shard


class Lease(NamedTuple):
    """Shards in a worker's hands; what it says of them comes from ``told``."""

    worker: Any
    told: Any
    shards: dict[int, Shard]


class RayCluster:
    """A cluster that this process drives; a context manager.

    Args:
        address: As ``ray.init`` takes it. Empty: that of ``RAY_ADDRESS``, as under ``ray job submit``, or a cluster of
            this machine; where there is none, Ray starts one here.
        cpus: Cores of a worker, which then has no GPU; None for a GPU each, or a core where the cluster has no GPU.

    Raises:
        InputError: There is no such cluster, or none of its nodes has room for a worker.
    """

    def __init__(self, address: str, cpus: int | None) -> None:
        self._address, self._cpus = address, cpus
        self.device = "cpu"

    def __enter__(self) -> RayCluster:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that is started here: it tells nobody
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # and prints no advice about that
        before = {number: signal.getsignal(number) for number in interruption.SIGNALS}
        try:
            ray.init(self._address or None, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        except Exception as error:  # of many kinds, bare ones among them
            reason = str(error).strip().partition("\n")[0]
            raise InputError(f"--ray {self._address}: no cluster can be reached or started ({reason})") from error
        finally:
            for number, handler in before.items():  # Ray sets its own for SIGTERM
                signal.signal(number, handler)
        self.device = "cuda" if self._cpus is None and ray.cluster_resources().get("GPU") else "cpu"
        self._cpus = self._cpus or 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ray.shutdown()

    def settings(self, model: MultiViewModel, find_batch: FindBatch, **options: Any) -> GenerationSettings:
        """What ``resolve_settings`` makes of options on a worker; a ``batch`` of None is found there.

        Raises:
            InputError: As ``resolve_settings``.
            DimvidaError: No worker could be started.
        """
        if not self._room():
            raise InputError(f"--ray: no node of the cluster has room for a worker, {self._needs()}")
        task = ray.remote(_resolve).options(**self._needs())
        return _answer(task.remote(model, self.device, find_batch, options))

    def make(
        self,
        generation: Generation,
        shards: Iterator[Shard],
        on_skip: Callable[[str, str], object],
        on_note: Callable[[str], object],
        idle: Callable[[], object],
    ) -> Iterator[MadeBatch]:
        """Make shards of a run on the workers; given the run, it stands in for ``Generation.make``."""
        left, lost = deque(shards), Counter[int]()
        if not left:
            return
        start = ray.remote(ShardWorker).options(max_restarts=-1, **self._needs())
        create = partial(start.remote, ray.put(generation), os.getcwd())
        workers: list[Any] = []
        starting: dict[Any, Any] = {}  # what says that a worker is there -> the worker
        leases: dict[Any, Lease] = {}
        looked = -_GROWTH
        try:
            while left or leases:
                if time.monotonic() > looked + _GROWTH:
                    looked = time.monotonic()
                    for _ in range(min(self._room(), len(left)) - len(workers)):
                        workers.append(create())
                        starting[_ready(workers[-1])] = workers[-1]
                told, _ = ray.wait([*starting, *leases], num_returns=1, timeout=_POLL)
                idle()
                interruption.check()
                for ref in told:
                    if ref in starting:
                        worker = starting.pop(ref)
                        _answer(ref)
                    elif (made := self._hear(leases[ref])) is not None:
                        for file, reason in made.skipped:
                            on_skip(file, reason)
                        for text in made.notes:
                            on_note(text)
                        yield MadeBatch(made.views, generation.shards[made.number])
                        continue
                    else:
                        lease = leases.pop(ref)
                        worker = lease.worker
                        if lease.shards:  # the worker was lost
                            first = next(iter(lease.shards.values()))  # those after it are read at most
                            lost[first.number] += 1
                            if lost[first.number] == ATTEMPTS:
                                raise DimvidaError(
                                    f"{first.stem}: {ATTEMPTS} workers were lost over it; see Ray's logs"
                                )
                            left.extendleft(reversed(lease.shards.values()))
                            starting[_ready(worker)] = worker
                            continue
                    if left:
                        size = max(1, min(LARGEST_LEASE, len(left) // (2 * len(workers))))
                        given = {shard.number: shard for shard in [left.popleft() for _ in range(size)]}
                        generator = worker.make.options(num_returns="streaming").remote(list(given))
                        leases[generator] = Lease(worker, generator, given)
        finally:
            for worker in workers:
                with suppress(RayError):
                    ray.kill(worker)

    def _hear(self, lease: Lease) -> ShardMade | None:
        """The next that a worker has finished; None once it has no more, or is lost."""
        try:
            made = _answer(next(lease.told))
        except (StopIteration, RayActorError):
            return None
        del lease.shards[made.number]
        return made

    def _needs(self) -> dict[str, Any]:
        return {"num_cpus": self._cpus, "num_gpus": int(self.device == "cuda")}

    def _room(self) -> int:
        """Workers that the cluster's nodes have room for, if nobody else uses them."""
        needs = self._needs()
        count = 0
        for node in ray.nodes():
            there = node["Resources"] if node["Alive"] else {}
            cpus = int(there.get("CPU", 0) // needs["num_cpus"])
            count += min(cpus, int(there.get("GPU", 0))) if needs["num_gpus"] else cpus
        return count


def _ready(worker: Any) -> Any:
    """Answered once a worker is there, wherever and however often Ray has to start it."""
    return worker.ready.options(max_task_retries=-1).remote()


def _answer(ref: Any) -> Any:
    """The value of a reference.

    Raises:
        DimvidaError: What was asked for failed.
        RayActorError: The worker was lost.
    """
    while True:
        try:
            return ray.get(ref, timeout=_POLL)
        except GetTimeoutError:
            interruption.check()
        except RayActorError:
            raise
        except RayTaskError as error:
            if isinstance(error.cause, DimvidaError):
                raise error.cause from None
            line = str(error).strip().rpartition("\n")[2]
            raise DimvidaError(f"a worker of the cluster failed: {line}") from error
        except RayError as error:
            line = str(error).strip().partition("\n")[0]
            raise DimvidaError(f"a worker of the cluster could not do its work: {line}") from error


def _resolve(model: MultiViewModel, device: str, find_batch: FindBatch, options: dict[str, Any]) -> GenerationSettings:
    model.to(device)
    settings = resolve_settings(model, **options)
    if options["batch"] is not None:
        return settings
    return resolve_settings(model, **options | {"batch": find_batch(model, settings)})
