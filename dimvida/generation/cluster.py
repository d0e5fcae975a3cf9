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
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from dimvida import interruption
from dimvida.data.names import counted
from dimvida.errors import DimvidaError, InputError
from dimvida.generation.cluster_worker import PATIENCE, ShardMade, ShardWorker, resolve
from dimvida.generation.plan import Shard
from dimvida.generation.run import Generation, MadeBatch
from dimvida.generation.settings import GenerationSettings
from dimvida.generation.trial import FindBatch
from dimvida.sampling.multiview import MultiViewModel

LARGEST_LEASE = 16
"""Shards that a worker is given at once, at most; fewer towards the end, so that all end together."""

ATTEMPTS = 10
"""Workers that may be lost with the same shard in their hands, before the shard is taken for the reason."""

_POLL = 0.1  # seconds between looks at signals
_GROWTH = 5.0  # seconds between looks at what the cluster has room for, and at whoever else is at the output
_SILENCE = 10.0  # seconds for which nothing is told of a wait
_JOIN = 900.0  # seconds that a cloud has to add the first node with room for a worker
_LEAVE = 5.0  # seconds that workers which were ended have to be gone


class RayCluster:
    """The cluster that this process is connected to.

    Args:
        cpus: Cores of a worker; None for a GPU each.
        grows: Whether nodes may join it.
    """

    def __init__(self, cpus: int | None, grows: bool) -> None:
        self.needs = {"num_cpus": cpus or 1, "num_gpus": int(cpus is None)}
        self._grows = grows

    @interruption.held()
    def settings(
        self,
        model: MultiViewModel,
        options: Mapping[str, Any],
        find_batch: FindBatch,
        look_out: Callable[[], object],
        on_note: Callable[[str], object],
    ) -> GenerationSettings:
        """What ``settings_with_batch`` gives where a worker is; ``look_out`` is called before, and while it waits.

        Raises:
            InputError: As ``resolve_settings``; or no node has room for a worker, or its GPU cannot be used.
            DimvidaError: No worker could be started.
        """
        device = "cuda" if self.needs["num_gpus"] else "cpu"
        lacking = {"cuda": "a GPU; give --cpus-per-worker N", "cpu": counted(self.needs["num_cpus"], "core")}
        no_room = f"--ray: no node of the cluster has {lacking[device]}"
        if not self.room():
            if not self._grows:
                raise InputError(no_room)
            on_note(f"{no_room}; waiting for one that has")
        wait, looked, until = _Wait(self, on_note), -math.inf, time.monotonic() + _JOIN
        resolving = ray.remote(resolve).options(**self.needs).remote(model, device, options, find_batch)
        while not ray.wait([resolving], timeout=_POLL)[0]:
            if time.monotonic() > looked + _GROWTH:
                look_out()
                looked = time.monotonic()
                if looked > until and not self.room():
                    raise InputError(no_room)
            wait.look()
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


class _Wait:
    """A wait for a worker, of which a line tells when it lasts: what a worker needs, and what of that is free."""

    def __init__(self, cluster: RayCluster, tell: Callable[[str], object]) -> None:
        self._needs, self._tell = cluster.needs, tell
        self.over()

    def over(self) -> None:
        """There is a worker; the next wait is another one."""
        self._until = time.monotonic() + _SILENCE

    def look(self) -> None:
        """There is none yet."""
        if time.monotonic() < self._until:
            return
        self._until = math.inf
        there, free = ray.cluster_resources(), ray.available_resources()
        kinds = [("GPU", "GPU", self._needs["num_gpus"]), ("CPU", "core", self._needs["num_cpus"])]
        needed = " and ".join(counted(count, name) for _, name, count in kinds if count)
        left = " and ".join(
            f"{free.get(kind, 0):g} of {counted(int(there.get(kind, 0)), name)}" for kind, name, count in kinds if count
        )
        self._tell(f"no worker is ready yet: one needs {needed} of a node; free on the cluster: {left}")


class _Crew:
    """The workers of a run, and the shards in their hands: what tells of these -> the worker and its shards."""

    def __init__(self, cluster: RayCluster, generation: Generation, on_note: Callable[[str], object]) -> None:
        self.leases: dict[Any, tuple[Any, dict[int, Shard]]] = {}
        self._actor, self._room = ray.remote(ShardWorker).options(**cluster.needs), cluster.room
        self._run, self._on_note = ([ray.put(generation)], os.getcwd()), on_note
        self._output, self._wait = generation.output, _Wait(cluster, on_note)
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
        if self.leases or self._free:
            self._wait.over()
        else:
            self._wait.look()
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
        """End all workers, and remove what those have left that were lost, or at work until now."""
        for worker in [*self._starting.values(), *self._free, *(worker for worker, _ in self.leases.values())]:
            with suppress(RayError):
                ray.kill(worker)
        with suppress(OSError, DimvidaError):  # which would hide why this ends
            self._sweep()

    def _sweep(self) -> None:
        until = time.monotonic() + _LEAVE
        while not self._output.lock.be_alone():
            if time.monotonic() > until:  # what somebody may still be writing is left to the next run
                return
            time.sleep(_POLL)
        self._output.sweep()

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
