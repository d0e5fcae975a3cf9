"""One output by several processes: torchrun, ranks without its agent, and members of an array job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from helpers.commands import free_port
from helpers.objects import tree

from dimvida.generation.lock import FolderLock

from .conftest import at_shard, finished_shards, torchrun

OBJECTS = 20


def start_ranks(
    count: int, arguments: list[str], dying: Mapping[int, int] | None = None
) -> list[subprocess.Popen[str]]:
    """Ranks as a cluster's own launcher starts them, without an agent that ends all when one dies.

    Args:
        count: How many.
        arguments: Of the command.
        dying: Rank -> how many shards it finishes before it is killed.
    """
    dying = dying or {}
    common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count)}
    return [
        subprocess.Popen(
            at_shard(dying[rank], signal.SIGKILL, arguments)
            if rank in dying
            else [sys.executable, "-m", "dimvida", *arguments],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


@pytest.fixture
def options(tmp_path: Path, write_fronts, generation) -> Callable[..., list[str]]:
    images = write_fronts(tmp_path / "images", OBJECTS, unreadable=[7])
    return lambda output, *more: generation(images, output, "--skip-bad", "--shard-size", 2, *more)


@pytest.fixture
def expected(dimvida, options, tmp_path: Path) -> Callable[..., dict[str, bytes]]:
    """Files of a run in one process."""

    def make(*more: object) -> dict[str, bytes]:
        assert dimvida(*options(tmp_path / "one", *more)).code == 0
        return tree(tmp_path / "one")

    return make


@pytest.mark.slow
@pytest.mark.parametrize(("count", "form"), [(2, "imagefolder"), (3, "npy"), (3, "webdataset")])
def test_torchrun_gives_the_bytes_of_one_process(options, expected, tmp_path, count: int, form: str):
    wanted = expected("--format", form)
    command = torchrun(count, *options(tmp_path / "many", "--format", form))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "many") == wanted
    assert done.stdout.count("done: 57 views of 19 objects") == 1
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("finished before: 57 views") == 1


@pytest.mark.slow
def test_two_agents_as_on_two_machines(options, expected, tmp_path: Path):
    wanted = expected("--format", "npy")
    place = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", "together"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *place]
    command = [*launcher, "-m", "dimvida", *options(tmp_path / "many", "--format", "npy")]
    agents = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    results = [agent.communicate(timeout=600) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], results
    assert tree(tmp_path / "many") == wanted
    assert "".join(out for out, _ in results).count("done: 57 views of 19 objects") == 1


@pytest.mark.slow
def test_refused_by_rank_0_it_ends_for_all(options, expected, tmp_path: Path):
    expected()
    done = subprocess.run(torchrun(2, *options(tmp_path / "one", "--seed", 1)), capture_output=True, text=True)
    assert done.returncode != 0
    assert "seed was 0, is 1" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("dies", [0, 1])
def test_a_dead_rank_costs_its_own_shards_and_nobody_waits_for_ever(dimvida, options, expected, tmp_path, dies: int):
    wanted = expected("--samples-per-view", 8)
    arguments = options(tmp_path / "many", "--samples-per-view", 8)
    ranks = start_ranks(3, arguments, dying={dies: 1})
    try:
        results = [rank.communicate(timeout=600) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    codes = [rank.returncode for rank in ranks]
    assert codes.pop(dies) == -signal.SIGKILL
    assert codes == ([0, 0] if dies == 0 else [1, 0]), results
    if dies:
        assert "26 shards not made by ranks that ended; the same command continues" in results[0][1]
    assert finished_shards(tmp_path / "many") == 80 - 26 and not (tmp_path / "many" / "report.json").exists()
    assert dimvida(*arguments).code == 0
    assert tree(tmp_path / "many") == wanted


@pytest.mark.slow
def test_all_ranks_killed_and_another_number_of_them_completes_the_rest(options, expected, tmp_path):
    wanted = expected("--samples-per-view", 8)
    arguments = options(tmp_path / "many", "--samples-per-view", 8)
    ranks = start_ranks(2, arguments, dying={0: 2, 1: 2})
    for rank in ranks:
        rank.communicate()
    assert [rank.returncode for rank in ranks] == [-signal.SIGKILL, -signal.SIGKILL]
    assert finished_shards(tmp_path / "many") == 4
    done = subprocess.run(torchrun(3, *arguments), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "many") == wanted


RANK_1_DIES = """
import os, signal, sys, threading
from dimvida.generation.output import OutputFolder
from dimvida.generation.run import Generation

run, finished = Generation.run, OutputFolder.add

def remember(self, *callbacks):
    global generation
    generation = self
    return run(self, *callbacks)

def end(self, stats):
    finished(self, stats)
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    while not generation.stopping:
        threading.Event().wait(0.01)

Generation.run, OutputFolder.add = remember, end
from dimvida.__main__ import main
main()
"""


@pytest.mark.slow
def test_torchrun_that_loses_a_rank_stops_in_order_and_continues(options, expected, tmp_path):
    """Its agent ends all ranks when one dies; they finish what they have in hand."""
    more = ("--samples-per-view", 4)
    wanted = expected(*more)
    command = torchrun(2, *options(tmp_path / "many", *more))
    (tmp_path / "dies.py").write_text(RANK_1_DIES)
    place = command.index("-m", command.index("2"))
    dying = [*command[:place], str(tmp_path / "dies.py"), *command[place + 2 :]]
    agent = subprocess.run(dying, capture_output=True, text=True)
    assert agent.returncode != 0
    assert "stopped by a signal; the same command continues" in agent.stderr
    assert 2 <= finished_shards(tmp_path / "many") < 40
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "many") == wanted


def test_members_of_an_array_job_need_no_meeting(dimvida, options, expected, tmp_path: Path):
    wanted = expected()
    output = tmp_path / "many"
    first = dimvida(*options(output, "--shard", "2/3"))
    assert first.code == 0 and "done: shards 2/3" in first.out
    assert sorted(path.stem for path in output.glob("shard-*.json")) == [f"shard-{n:06d}" for n in (2, 5, 8)]
    assert not (output / "report.json").exists()
    assert dimvida(*options(output, "--shard", "0/3")).code == 0
    last = dimvida(*options(output, "--shard", "1/3"))
    assert "done: 57 views of 19 objects" in last.out
    assert tree(output) == wanted


@pytest.mark.slow
def test_members_of_an_array_job_at_once(options, expected, tmp_path: Path):
    wanted = expected()
    command = [sys.executable, "-m", "dimvida"]
    members = [
        subprocess.Popen([*command, *options(tmp_path / "many", "--shard", f"{member}/3")], stderr=subprocess.PIPE)
        for member in range(3)
    ]
    errors = [member.communicate()[1] for member in members]
    assert [member.returncode for member in members] == [0, 0, 0], errors
    assert tree(tmp_path / "many") == wanted


def test_the_same_member_of_an_array_job_twice_is_refused(dimvida, options, tmp_path: Path):
    output = tmp_path / "many"
    assert dimvida(*options(output, "--shard", "2/3")).code == 0  # the folder's configuration
    lock = FolderLock(output, "array of 3", 1)
    try:
        assert "another process of this job makes these shards" in dimvida(*options(output, "--shard", "1/3")).refusal()
        assert "another run is writing to it" in dimvida(*options(output, "--shard", "1/4")).refusal()
        assert dimvida(*options(output, "--shard", "0/3")).code == 0
    finally:
        lock.release()


@pytest.mark.slow
def test_an_array_job_and_torchrun_exclude_each_other(options, tmp_path: Path):
    done = subprocess.run(torchrun(2, *options(tmp_path / "out", "--shard", "0/2")), capture_output=True, text=True)
    assert done.returncode != 0
    assert "torchrun divides the work itself" in done.stderr
    assert not (tmp_path / "out").exists()
