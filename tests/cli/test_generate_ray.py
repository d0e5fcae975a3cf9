"""``dimvida generate --ray``: what it refuses, and a cluster of two nodes that loses workers, a node and its driver."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import free_port, wait_until
from helpers.objects import tree
from helpers.servers import s3_server

from dimvida.generation.lock import FolderLock

from .conftest import finished_shards

pytest.importorskip("ray")

NODE = {"num_cpus": 1, "object_store_memory": 100_000_000}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--cpus-per-worker", 2), "--cpus-per-worker 2: is for --ray"),
        (("--ray", "--cpus-per-worker", 0), "--cpus-per-worker 0: must be at least 1"),
        (
            ("--ray", "local", "--cpus-per-worker", 9999),
            "--cpus-per-worker 9999: what Ray starts here has ",
        ),
        (("--ray", "--shard", "0/2"), "--ray and --shard: Ray divides the work itself"),
        (("--ray", "--device", "cpu"), "--ray and --device: its workers have a GPU each, or --cpus-per-worker"),
        (("--dry-run", "--ray"), "--ray and --dry-run: leave one of them out"),
        (("--ray", "ray://head:10001"), "--ray ray://head:10001: give HOST:PORT of the cluster's head"),
        (("--ray", "a:b:c"), "--ray a:b:c: give HOST:PORT of the cluster's head, as 10.0.0.1:6379"),
        (("--ray", "head:70000"), "--ray head:70000: 70000 is no port"),
        (("--ray", ""), "--ray: what is given is empty; give a value, or leave it out"),
        (("--ray=",), "--ray: what is given is empty"),
    ],
)
def test_what_does_not_go_together(dimvida, generation, fronts, tmp_path: Path, options, line: str):
    """Told before a model is loaded."""
    arguments = generation(fronts, tmp_path / "out", "--view", "front", "--checkpoint", tmp_path / "none", *options)
    assert line in dimvida(*arguments).refusal()
    assert not (tmp_path / "out").exists()


def test_nobody_is_there(dimvida, generation, fronts, tmp_path: Path, monkeypatch):
    address = f"127.0.0.1:{free_port()}"
    arguments = generation(fronts, tmp_path / "out", "--checkpoint", tmp_path / "none", "--cpus-per-worker", 1, "--ray")
    line = f"{address}: no cluster can be reached (["
    assert f"--ray {line}" in dimvida(*arguments, address).refusal()
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert f"RAY_ADDRESS={line}" in dimvida(*arguments).refusal()


def test_a_second_driver_is_refused_before_it_asks_for_a_worker(dimvida, generation, fronts, tmp_path: Path):
    (tmp_path / "out").mkdir()
    first = FolderLock(tmp_path / "out", "theirs", 0)
    arguments = generation(fronts, tmp_path / "out", "--view", "front", "--ray", f"127.0.0.1:{free_port()}")
    assert f"{tmp_path / 'out'}: another run is writing to it; wait for it" in dimvida(*arguments).refusal()
    first.release()


def test_without_ray(dimvida, generation, fronts, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    line = dimvida(*generation(fronts, tmp_path / "out", "--view", "front", "--ray")).refusal()
    assert "--ray: needs Ray; pip install 'dimvida[ray]'" in line


def test_ray_is_imported_for_nothing_else():
    code = "import sys; from dimvida.cli.app import run; run(['generate', '--help']); import dimvida.generation.run"
    code += "; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def environment() -> Iterator[Any]:
    """A bucket that nodes find in their environment."""
    pytest.importorskip("s3fs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_worker_niceness", "0")  # else they wait for every other test
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        with s3_server(patch) as system:
            system.mkdir("bucket")
            yield system


@pytest.fixture(scope="module")
def cluster(environment) -> Iterator[Any]:
    """Two nodes of a core each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def command(tiny_checkpoint: Path, write_fronts, cluster, tmp_path_factory) -> Callable[..., list[str]]:
    """A command line of 160 shards, of inputs of which one cannot be read."""
    images = write_fronts(tmp_path_factory.mktemp("ray") / "images", 8, unreadable=[5])

    def make(output: object, *options: object) -> list[str]:
        paths = ("--data", images, "--out", output, "--checkpoint", tiny_checkpoint)
        more = ("--batch", 2, "--format", "npy", "--samples-per-view", 40, "--shard-size", 2, "--skip-bad")
        return [sys.executable, "-m", "dimvida", "generate", *map(str, (*paths, *more, *options))]

    return make


@pytest.fixture(scope="module")
def expected(command, tmp_path_factory) -> dict[str, bytes]:
    """What one process makes."""
    folder = tmp_path_factory.mktemp("ray") / "one"
    assert subprocess.run(command(folder), capture_output=True).returncode == 0
    return tree(folder)


def on(cluster: Any) -> tuple[object, ...]:
    return "--ray", cluster.address, "--cpus-per-worker", 1


def workers() -> list[int]:
    """The processes that make shards."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().startswith(b"ray::ShardWorker"):
                found.append(int(process.name))
        except OSError:  # it has ended
            pass
    return sorted(found)


@pytest.mark.slow
def test_into_a_bucket(command, expected, cluster, environment):
    done = subprocess.run(command("s3://bucket/views", *on(cluster)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    environment.invalidate_cache()
    content = {
        name.removeprefix("bucket/views/"): environment.cat_file(name) for name in environment.find("bucket/views")
    }
    assert content == expected


@pytest.mark.slow
def test_a_cluster_that_loses_everything_makes_what_one_process_makes(command, expected, cluster, tmp_path: Path):
    folder, chance, told = tmp_path / "many", random.Random(7), []

    def start() -> subprocess.Popen[str]:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command(folder, *on(cluster)), **streams)

    def until(more: int) -> None:
        """Wait for some more shards; there are enough left for whatever is done then."""
        whole = finished_shards(folder) + more
        wait_until(lambda: finished_shards(folder) >= whole or driver.poll() is not None)

    driver = start()
    try:
        until(chance.randint(1, 20))
        os.kill(chance.choice(workers()), signal.SIGKILL)
        until(chance.randint(1, 20))
        driver.terminate()
        told.append(driver.communicate()[0])
        assert driver.returncode == 128 + signal.SIGTERM, told  # not before all else: there was work left
        assert not list(folder.glob(".*"))
        driver = start()
        until(chance.randint(1, 20))
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        until(chance.randint(1, 20))
        driver.kill()
        told.append(driver.communicate()[0])
        assert driver.returncode == -signal.SIGKILL
        driver = start()  # with the node that is left
        told.append(driver.communicate()[0])
    finally:
        driver.kill()
    assert driver.returncode == 0, told
    assert "skipped chair/05__front.png" in told[-1] and "generating: 960/960 views" in told[-1]
    assert "a worker was lost" in told[0] and "(raylet" not in "".join(told)
    assert tree(folder) == expected
