"""Shards handed out to workers that are lost at any moment; Ray itself is stood in for, in one thread."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ray")

from ray.exceptions import RayActorError

from dimvida.errors import DimvidaError, InputError
from dimvida.generation import cluster
from dimvida.generation.cluster import ATTEMPTS, LARGEST_LEASE, RayCluster, ShardMade
from dimvida.generation.plan import cut_shards

VIEWS = 3  # of a shard


class Pretended:
    """Ray, as far as a driver sees it: workers that answer in any order, and fail as they are told.

    Args:
        seed: Of what happens.
        room: Workers that there is room for at a time; from one moment to the next it may be another.
        dies: Whether a worker is lost now, given what it is at: the number of a shard, or None while it starts.
    """

    def __init__(self, seed: int, room: tuple[int, ...], dies: Any) -> None:
        self.random, self.room, self.dies = random.Random(seed), room, dies
        self.made: list[int] = []
        self.leases: list[int] = []
        self.swept: list[None] = []
        self.alive: set[Any] = set()

    def remote(self, actor: type) -> Any:
        return SimpleNamespace(options=lambda **needs: SimpleNamespace(remote=lambda: Worker(self)))

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": self.random.choice(self.room)}}]

    def put(self, value: Any) -> None: ...

    def kill(self, worker: Any) -> None:
        self.alive.discard(worker)

    def wait(self, refs: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        placed = [ref for ref in refs if ref.worker in self.alive or len(self.alive) < max(self.room)]
        told = self.random.sample(placed, min(num_returns, len(placed)))
        return told, [ref for ref in refs if ref not in told]

    def get(self, ref: Any) -> Any:
        return ref.get() if isinstance(ref, Told) else ref


class Worker:
    def __init__(self, ray: Pretended) -> None:
        self.ray = ray
        self.leave = SimpleNamespace(remote=lambda: Told(self, iter([None])))
        self.take_up = SimpleNamespace(remote=lambda run: Told(self, iter([None])))
        self.make = SimpleNamespace(options=lambda num_returns: SimpleNamespace(remote=self.begin))

    def begin(self, numbers: list[int]) -> Told:
        self.ray.leases.append(len(numbers))
        return Told(self, iter(numbers))


class Told:
    """What a worker was asked for."""

    def __init__(self, worker: Worker, left: Iterator[int | None]) -> None:
        self.worker, self.left = worker, left

    def get(self, number: int | None = None) -> None:
        self.worker.ray.alive.add(self.worker)
        if self.worker.ray.dies(number):
            self.worker.ray.alive.discard(self.worker)
            raise RayActorError

    def __next__(self) -> ShardMade:
        number = next(self.left)
        self.get(number)
        self.worker.ray.made.append(number)
        return ShardMade(number, VIEWS, [(f"{number}.png", "damaged")], [])


def make(monkeypatch, ray: Pretended, count: int) -> tuple[list[int], list[str], list[str]]:
    """The shards that a run hears of, the files that it skips, and its notes."""
    for name in ("remote", "nodes", "put", "kill", "wait", "get"):
        monkeypatch.setattr(cluster.ray, name, getattr(ray, name))
    monkeypatch.setattr(cluster, "_GROWTH", 0)
    lock = SimpleNamespace(be_alone=lambda: not ray.alive)
    output = SimpleNamespace(lock=lock, sweep=lambda: ray.alive or ray.swept.append(None))
    generation = SimpleNamespace(shards=cut_shards(count, 1), output=output)
    skipped, notes = [], []
    batches = RayCluster(1, True).make(
        generation, iter(generation.shards), lambda file, reason: skipped.append(file), notes.append, lambda: None
    )
    made = [batch.finished.number for batch in batches if batch.views == VIEWS]
    assert ray.alive == set()
    return made, skipped, notes


@pytest.mark.parametrize("seed", range(20))
def test_every_shard_is_made_whoever_is_lost(monkeypatch, seed: int):
    """Also where at times there is no room for a worker."""
    ray = Pretended(seed, (0, 1, 4), lambda number: ray.random.random() < 0.1)
    made, skipped, notes = make(monkeypatch, ray, 100)
    assert sorted(made) == list(range(100)) == sorted(ray.made)
    assert sorted(skipped) == sorted(f"{number}.png" for number in range(100))
    assert notes and all("a worker was lost" in text for text in notes)
    assert max(ray.leases) > 1 and ray.leases[-1] == 1


def test_no_lease_is_too_large(monkeypatch):
    ray = Pretended(0, (2,), lambda number: False)
    assert sorted(make(monkeypatch, ray, 500)[0]) == list(range(500))
    assert max(ray.leases) == LARGEST_LEASE


@pytest.mark.parametrize(("bad", "where"), [(7, "shard-000007"), (None, "at the start")])
def test_what_every_worker_is_lost_over_ends_the_run(monkeypatch, bad, where):
    ray = Pretended(0, (2,), lambda number: number == bad)
    with pytest.raises(DimvidaError, match=rf"--ray: {ATTEMPTS} workers were lost, {where}"):
        make(monkeypatch, ray, 20)
    assert ray.alive == set() and ray.swept == [None]


def test_nothing_to_make_asks_for_nobody(monkeypatch):
    ray = Pretended(0, (2,), lambda number: False)
    assert make(monkeypatch, ray, 0) == ([], [], []) and ray.leases == []


@pytest.mark.parametrize(
    ("cpus", "nodes", "lacking"),
    [
        (None, [{"CPU": 8.0}, {}], "a GPU; give --cpus-per-worker N"),
        (5, [{"CPU": 4.0}, {"CPU": 4.0}], "5 cores"),
        (1, [], "1 core"),
    ],
)
def test_no_room_for_a_worker(monkeypatch, cpus, nodes, lacking: str):
    monkeypatch.setattr(cluster.ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
    with pytest.raises(InputError, match=f"--ray: no node of the cluster has {lacking}"):
        RayCluster(cpus, False).settings(None, {}, lambda model, settings: 1, lambda: None, print)


def test_a_cluster_that_may_grow_is_waited_for(queued, monkeypatch):
    """As one whose head alone is up, where nodes with GPUs come when they are asked for; up to a time."""
    monkeypatch.setattr(cluster.ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8.0}}])
    line = "--ray: no node of the cluster has a GPU; give --cpus-per-worker N"
    with pytest.raises(InputError, match=f"^{line}$"):
        RayCluster(None, True).settings(None, {}, lambda model, settings: 1, lambda: None, queued.append)
    assert queued[0] == f"{line}; waiting for one that has" and len(queued) == 2


def test_room(monkeypatch):
    there = [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 2.0, "GPU": 4.0}, {"CPU": 7.0}]
    nodes = [{"Alive": True, "Resources": node} for node in there] + [{"Alive": False, "Resources": there[0]}]
    monkeypatch.setattr(cluster.ray, "nodes", lambda: nodes)
    assert [RayCluster(cpus, True).room() for cpus in (None, 1, 3, 9)] == [4 + 2, 8 + 2 + 7, 2 + 0 + 2, 0]


@pytest.fixture
def queued(monkeypatch) -> list[str]:
    """A cluster of two nodes whose cores others have, where nothing asked for is ever done, and time that flies."""
    time, told = itertools.count(), []
    monkeypatch.setattr(cluster.time, "monotonic", lambda: next(time))
    for name, value in (
        ("nodes", [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}] * 2),
        ("cluster_resources", {"CPU": 8.0, "GPU": 2.0}),
        ("available_resources", {"CPU": 0.5}),
        ("wait", ([], [])),
        ("remote", SimpleNamespace(options=lambda **needs: SimpleNamespace(remote=lambda *asked: None))),
    ):
        monkeypatch.setattr(cluster.ray, name, lambda *args, value=value, **options: value)
    return told


@pytest.mark.parametrize(
    ("cpus", "line"),
    [
        (3, "no worker is ready yet: one needs 3 cores of a node; free on the cluster: 0.5 of 8 cores"),
        (
            None,
            "no worker is ready yet: one needs 1 GPU and 1 core of a node; "
            "free on the cluster: 0 of 2 GPUs and 0.5 of 8 cores",
        ),
    ],
)
def test_a_driver_that_waits_says_so_once_and_looks_whether_it_is_alone(queued, cpus: int | None, line: str):
    looks = itertools.count(1)

    def look_out() -> None:
        if next(looks) == 30:
            raise InputError("another run came")

    with pytest.raises(InputError, match="another run came"):
        RayCluster(cpus, True).settings(None, {}, lambda model, settings: 1, look_out, queued.append)
    assert queued == [line]


def block(start: str) -> str:
    """The code block of the documentation's page that begins so."""
    text = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
    (found,) = (code for code in re.findall(r"^```\w+\n(.*?)^```", text, re.M | re.S) if code.startswith(start))
    return found


def test_the_documented_cluster_file_is_one():
    import yaml
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load(block("cluster_name")))
    validate_config(config)
    workers = config["available_node_types"]["gpus"]
    assert workers["resources"]["GPU"] and workers["min_workers"] == config["max_workers"]
    for command in config["setup_commands"]:
        subprocess.run(["bash", "-n", "-c", command], check=True)


def test_the_documented_job_is_a_script():
    subprocess.run(["bash", "-n", "-c", block("#!/bin/bash")], check=True)
