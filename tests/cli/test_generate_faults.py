"""What befalls long runs: kills, full disks, folders that go away, bad inputs, damaged files, a second run."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import Result
from helpers.objects import tree

from .conftest import at_shard, finished_shards, killed_at_access, wait_until_it_stops

OBJECTS = 24
BAD = ("05__front.png", "17__front.png")
SHARDS = 8
FORMATS = ("imagefolder", "webdataset", "npy", "parquet")


@pytest.fixture
def images(tmp_path: Path, write_fronts) -> Path:
    """Some of them cannot be read."""
    root = write_fronts(tmp_path / "images", OBJECTS, unreadable=[5])
    cut = root / "chair" / BAD[1]
    cut.write_bytes(cut.read_bytes()[:99])
    return root


@pytest.fixture
def command(images: Path, generation) -> Callable[..., list[str]]:
    """A command line of eight shards."""

    def make(output: Path, *options: object) -> list[str]:
        arguments = generation(images, output, "--skip-bad", "--shard-size", OBJECTS // SHARDS, *options)
        return [sys.executable, "-m", "dimvida", *arguments]

    return make


@pytest.fixture
def whole(dimvida, command, tmp_path: Path) -> Callable[..., dict[str, bytes]]:
    """Files of a run that nothing happened to."""

    def make(*options: object) -> dict[str, bytes]:
        done = dimvida(*command(tmp_path / "whole", *options)[3:])
        assert done.code == 0, done.err
        return tree(tmp_path / "whole")

    return make


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_killed_twice_and_repeated_it_ends_as_if_it_had_run_through(command, whole, tmp_path, form: str):
    expected = whole("--format", form)
    output = tmp_path / "cut"
    for more, shards in ((1, 1), (3, 4)):
        run = at_shard(more, signal.SIGKILL, command(output, "--format", form)[3:])
        assert subprocess.run(run, capture_output=True).returncode == -signal.SIGKILL
        assert finished_shards(output) == shards
        assert not (output / "report.json").exists()
    times = {path: path.stat().st_mtime_ns for path in output.glob("shard-*.json")}
    last = subprocess.run(command(output, "--format", form), capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    assert tree(output) == expected
    assert all(path.stat().st_mtime_ns == before for path, before in times.items())


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_killed_at_any_moment(command, tmp_path, form: str):
    """25 moments over the whole run, from the first file to the last, with a rerun after each to the next one."""

    def run(output: Path, last: int) -> Result:
        return killed_at_access(output, last, command(output, "--format", form)[3:], tmp_path / "log")

    whole = run(tmp_path / "whole", 0)
    assert whole.code == 0, whole.err
    expected, accesses = tree(tmp_path / "whole"), int(whole.out.split()[-1])
    assert accesses > 5 * SHARDS
    output, moments, killed = tmp_path / "cut", random.Random(form), 0
    while killed < 25:
        done = run(output, moments.randint(1, accesses))
        assert done.code in (-signal.SIGKILL, 0), done.err
        killed += done.code != 0
        if (output / "report.json").exists():
            assert tree(output).items() >= expected.items()
            shutil.rmtree(output)
    assert run(output, 0).code == 0
    assert tree(output) == expected


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk(command, whole, tmp_path, form: str):
    """Files may not grow beyond a size that the first shards keep to; the run ends with one line, and continues."""
    options = ("--format", form, "--samples-per-view", 2)
    expected = whole(*options)
    output = tmp_path / "full"
    sizes = sorted(len(data) for name, data in expected.items() if name.startswith("shard-"))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (sizes[-1] - 1, sizes[-1] - 1))

    done = subprocess.run(command(output, *options), capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "writing failed (File too large); the same command continues" in errors[0]
    assert not (output / "report.json").exists()
    assert not list(output.glob(".*")), "what was temporary went"
    done = subprocess.run(command(output, *options), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert tree(output) == expected


@pytest.mark.slow
def test_a_full_file_system(command, whole, tmp_path):
    expected = whole("--format", "npy")
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(mount)], capture_output=True)
    if made.returncode:
        pytest.skip("no permission to mount a file system")
    try:
        done = subprocess.run(command(mount / "out", "--format", "npy"), capture_output=True, text=True)
        assert done.returncode == 1
        assert "writing failed (No space left on device); the same command continues" in done.stderr
        subprocess.run(["mount", "-o", "remount,size=16m", str(mount)], check=True)
        done = subprocess.run(command(mount / "out", "--format", "npy"), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert tree(mount / "out") == expected
    finally:
        subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_the_output_folder_is_removed_under_the_run(command, tmp_path, form: str):
    output = tmp_path / "out"
    arguments = at_shard(1, signal.SIGSTOP, command(output, "--format", form)[3:])
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_until_it_stops(process)
        output.rename(tmp_path / "gone")
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate(timeout=600)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    errors = [line for line in errors.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "was removed while the run was writing to it" in errors[0]
    assert not output.exists()


def test_unreadable_inputs_among_good_ones(command, whole):
    files = whole("--format", "imagefolder")
    assert len([name for name in files if name.startswith("chair/") and name.endswith(".png")]) == 3 * (
        OBJECTS - len(BAD)
    )
    report = files["report.json"].decode()
    assert all(f"chair/{name}" in report for name in BAD)


@pytest.mark.parametrize("form", FORMATS)
def test_a_damaged_file_is_found_and_only_its_shard_made_again(dimvida, command, whole, tmp_path, form: str):
    expected = whole("--format", form)
    output = tmp_path / "whole"
    assert dimvida("generate", "--verify", output).code == 0
    suffix = {"imagefolder": "chair/04__left.png", "webdataset": "shard-000001.tar"}.get(form, f"shard-000001.{form}")
    data = bytearray((output / suffix).read_bytes())
    for damage in ("truncated", "flipped"):
        broken = data[:-7] if damage == "truncated" else data.copy()
        if damage == "flipped":
            broken[len(broken) // 2] ^= 4
        (output / suffix).write_bytes(broken)
        checked = dimvida("generate", "--verify", output)
        assert checked.code == 1
        assert suffix in checked.out and "1 file is damaged" in checked.errors[0]
        times = {path.name: path.stat().st_mtime_ns for path in output.glob("shard-*.json")}
        again = dimvida(*command(output, "--format", form)[3:])
        assert again.code == 0
        assert f"note: {suffix}" in again.out
        assert tree(output) == expected
        changed = [name for name, before in times.items() if (output / name).stat().st_mtime_ns != before]
        assert changed == ["shard-000001.json"]
    assert dimvida("generate", "--verify", output).code == 0


def test_verify_wants_an_output(dimvida, tmp_path: Path):
    assert dimvida("generate", "--verify", tmp_path / "nothing").code == 2
    assert dimvida("generate", "--verify", tmp_path).code == 2


def test_a_second_run_on_the_folder_is_refused(command, tmp_path: Path):
    output = tmp_path / "out"
    arguments = at_shard(1, signal.SIGSTOP, command(output)[3:])
    first = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_it_stops(first)
        second = subprocess.run(arguments, capture_output=True, text=True)
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 2
    assert "another run is writing to it" in second.stderr
    # The first one was killed, and its lock went with it.
    third = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_it_stops(third)
        third.send_signal(signal.SIGINT)
        third.send_signal(signal.SIGCONT)
        assert third.wait() == 130
    finally:
        third.kill()
    assert finished_shards(output) >= 2
    assert not list(output.glob(".*"))


def test_dry_run_writes_nothing(dimvida, command, tmp_path: Path):
    result = dimvida(*command(tmp_path / "out", "--samples-per-view", 2, "--include-known")[3:], "--dry-run")
    assert result.code == 0, result
    assert f"plan: {6 * OBJECTS} views of {OBJECTS} objects in {2 * OBJECTS} rows, {8 * OBJECTS} pictures" in result.out
    assert f"shards: {2 * SHARDS} of {OBJECTS // SHARDS} rows in batches of 2, 0 finished" in result.out
    assert "time: about " in result.out and "size: about " in result.out
    assert not (tmp_path / "out").exists()
