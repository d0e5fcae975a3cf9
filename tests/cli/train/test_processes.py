"""``dimvida train`` as a person or a batch system starts and stops it: in processes of their own, on a terminal."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
import torch
from helpers.commands import PATIENCE, Result, Started, command, wait_until
from helpers.networks import FAST, SHORT, curve, has_reached, options, weights
from helpers.objects import SIZE
from rich.cells import cell_len

from dimvida.errors import InputError
from dimvida.sampling.multiview import load

from ..conftest import killed_at_access
from .conftest import assert_equal_runs

# Long enough to be interrupted in the middle, and saved often enough to lose little.
LONG = (
    *FAST,
    "autoencoder_stage.steps=150",
    "autoencoder_stage.save_every=60",
    "autoencoder_stage.log_every=5",
    "diffusion_stage.steps=250",
    "diffusion_stage.save_every=100",
    "diffusion_stage.log_every=5",
    "diffusion_stage.keep_every=90",
)


def command_line(data: Path, out: Path, *arguments: str) -> list[str]:
    start = [sys.executable, "-m", "dimvida", "train", "--data", str(data), "--out", str(out), "--preset", "tiny"]
    return [*start, *options(LONG), *arguments]


def start(data: Path, out: Path, *arguments: str) -> Started:
    return Started(*command_line(data, out, *arguments)[3:])


def environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    return {**inherited, "OMP_NUM_THREADS": "1", "TERM": "xterm"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, boxes: Path) -> tuple[Path, int]:
    """A run that nobody disturbed, and how often it opened, renamed or removed a file of its folder."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    result = killed_at_access(out, 0, command_line(boxes, out)[3:], out.with_name("log"))
    assert result.code == 0, result.err
    return out, int(result.out.split()[-1])


@pytest.fixture(scope="module")
def uninterrupted(whole: tuple[Path, int]) -> Path:
    return whole[0]


def assert_usable(out: Path, *, generates: bool) -> None:
    """Its autoencoder works; so does its score network, or generating says that it is untrained."""
    model = load(out)
    views = torch.full((2, 4, 3, SIZE, SIZE), 128, dtype=torch.uint8)
    reconstructed = model.decode(model.encode(views))
    assert reconstructed.shape == views.shape and reconstructed.std() > 0
    known = torch.tensor([[True, False, False, False]]).expand(2, 4)
    if not generates:
        with pytest.raises(InputError, match="untrained"):
            model.generate(views, known, steps=2)
        return
    completed = model.generate(views, known, steps=2)
    assert torch.equal(completed[:, 0], views[:, 0]) and not torch.equal(completed[:, 1], views[:, 1])


def screen_lines(output: bytes) -> list[str]:
    """What stood in each line of a terminal at some time."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode())
    return [line for line in re.split(r"[\r\n]+", text) if line]


def interrupt_on_a_terminal(data: Path, out: Path) -> tuple[int, list[str]]:
    """Press ctrl-C while the autoencoder trains; the exit code and the lines on a screen of 80 columns."""
    record, arguments = io.BytesIO(), command_line(data, out)
    child = pexpect.spawn(
        arguments[0], arguments[1:], env=environment(), dimensions=(24, 80), echo=False, timeout=PATIENCE
    )
    child.logfile_read = record

    def alive() -> bool:
        with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF):
            child.read_nonblocking(1 << 16, timeout=0.01)  # or the program waits for room on the screen
        return child.isalive()

    wait_until(lambda: not alive() or has_reached(out, "autoencoder", 5))
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus is not None, f"ended by signal {child.signalstatus}"
    return child.exitstatus, screen_lines(record.getvalue())


@pytest.mark.slow
def test_a_stopped_training_is_usable_and_resumes_exactly(uninterrupted: Path, boxes: Path, tmp_path: Path):
    out = tmp_path / "r"
    code, lines = interrupt_on_a_terminal(boxes, out)
    bars = [line for line in lines if re.search(r"\d+/\d+", line)]
    assert any("reading" in line and "40/40" in line for line in bars)
    assert any(re.search(r"autoencoder .*\d/150 .*steps/s .*loss \d", line) for line in bars)
    assert max(cell_len(line) for line in bars) <= 80
    assert code == 128 + signal.SIGINT
    said = ("interrupted; saving the state (ctrl-C again stops at once)", "stopped; ", "error: interrupted")
    places = [next(number for number, line in enumerate(lines) if text in line) for text in said]
    assert places == sorted(places)
    assert "--resume" in " ".join(lines)
    assert_usable(out, generates=False)
    assert len(curve(out / "autoencoder.csv")) < len(curve(uninterrupted / "autoencoder.csv"))

    process = start(boxes, out, "--resume")
    wait_until(lambda: has_reached(out, "diffusion", 5), process)
    process.send_signal(signal.SIGTERM)
    result = process.finish()
    assert (result.code, result.errors) == (0, [])
    assert "terminated; saving the state" in result.err.splitlines()
    assert "--resume" in result.out and str(out / "checkpoint") in result.out
    assert_usable(out, generates=True)
    assert len(curve(out / "diffusion.csv")) < len(curve(uninterrupted / "diffusion.csv"))

    assert start(boxes, out, "--resume").finish().code == 0
    assert_equal_runs(out, uninterrupted)


@pytest.mark.slow
def test_a_training_killed_at_random_accesses_to_its_files_resumes_to_the_same_bytes(
    whole: tuple[Path, int], boxes: Path, tmp_path: Path
):
    uninterrupted, accesses = whole
    assert accesses > 100
    out, moments, killed = tmp_path / "run", random.Random(0), 0
    arguments = command_line(boxes, out)[3:]
    for _ in range(5):
        begun = (out / "run.json").exists()
        # One that goes on has less to do, and may come to its end.
        more = ["--resume"] if begun else []
        done = killed_at_access(out, moments.randint(1, accesses // 2), [*arguments, *more], tmp_path / "log")
        assert done.code in (-signal.SIGKILL, 0), done.err
        killed += done.code != 0
    assert killed >= 3
    assert killed_at_access(out, 0, [*arguments, "--resume"], tmp_path / "log").code == 0
    assert_equal_runs(out, uninterrupted)


COMPILER = """#!/bin/sh
case "$*" in *--version*) exec g++ "$@" ;; esac
mkdir "$0-called" && kill -INT 0  # once, whoever is in the terminal's foreground, this process too
exit 1
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_ctrl_c_while_a_compiler_compiles_saves_the_state(boxes: Path, tmp_path: Path):
    """PyTorch's own compilation, and a compiler during whose work ctrl-C reaches all processes of the terminal."""
    compiler, out = tmp_path / "g++-at-work", tmp_path / "run"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    arguments = command_line(boxes, out, "--set", "autoencoder_stage.steps=2", "--set", "diffusion_stage.compile=true")
    variables = {"CXX": str(compiler), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    result = subprocess.run(
        arguments,
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        start_new_session=True,
    )
    assert result.returncode == 128 + signal.SIGINT, result.stderr
    assert [line for line in result.stderr.splitlines() if line.startswith("error:")] == ["error: interrupted"]
    assert "Traceback" not in result.stderr and "--resume" in result.stdout
    assert (out / "diffusion.state").is_file() and (tmp_path / "inductor").is_dir()


PRESS_TWICE = """
import os, signal, sys, threading
from dimvida.__main__ import main
from dimvida.cli import train

heard, announce = threading.Event(), train.announce
train.announce = lambda number: (announce(number), heard.set())

def files(frame):
    while frame is not None:
        yield frame.f_code.co_filename
        frame = frame.f_back

def traces_backward():
    stack = [*files(sys._current_frames()[threading.main_thread().ident])]
    return any(file.endswith("autograd/graph.py") for file in stack) and any("_functorch" in file for file in stack)

def press():
    for _ in range(2):
        while not traces_backward():
            pass
        os.kill(os.getpid(), signal.SIGINT)
        heard.wait()

threading.Thread(target=press, daemon=True).start()
main()
"""


@pytest.mark.slow
def test_a_second_ctrl_c_while_torch_compile_traces_is_one_line(boxes: Path, tmp_path: Path):
    """It tells of what is raised in a backward pass, with the stack of the forward pass."""
    asked = options(["autoencoder_stage.steps=2", "diffusion_stage.compile=true"])
    arguments = command_line(boxes, tmp_path / "run", *asked)[3:]
    process = subprocess.run(
        [sys.executable, "-c", PRESS_TWICE, *arguments],
        env=environment() | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert process.returncode == 128 + signal.SIGINT, process.stderr
    lines = process.stderr.splitlines()
    assert lines[-2].startswith("interrupted; saving the state") and lines[-1] == "error: interrupted", lines


@pytest.mark.slow
def test_a_full_disk_names_the_file_and_the_way_on(finished: tuple[Path, Result], boxes: Path, tmp_path: Path):
    """A limit on the size of a file stands in for the disk: the autoencoder's state fits, the diffusion's does not."""
    out = tmp_path / "run"
    arguments = ["train", "--data", str(boxes), "--out", str(out), "--preset", "tiny", *options(SHORT)]
    sizes = [(finished[0] / f"{stage}.state").stat().st_size for stage in ("autoencoder", "diffusion")]
    blocks = sum(sizes) // 2 // 1024
    assert sizes[0] < 1024 * blocks < sizes[1]
    limited = ["bash", "-c", f'ulimit -f {blocks}; exec "$@"', "bash", sys.executable, "-m", "dimvida", *arguments]
    result = subprocess.run(limited, env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    state = out / "diffusion.state"
    assert line.startswith(f"error: {state}: cannot be written (File too large); ") and line.endswith("add --resume")
    assert not state.exists() and not list(out.glob(".*"))
    assert command(*arguments, "--resume").code == 0
    assert weights(out) == weights(finished[0])


@pytest.mark.slow
def test_memory_that_does_not_suffice_is_one_line(boxes: Path, tmp_path: Path):
    """A limit on addresses stands in for the machine's memory: 16 GiB, and a first layer of 64 GB."""
    arguments = command_line(boxes, tmp_path / "run", "--set", "score.width=1000000000")
    limited = ["bash", "-c", f'ulimit -v {16 << 20}; exec "$@"', "bash", *arguments]
    result = subprocess.run(limited, env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert line.startswith("error: not enough memory (") and line.endswith(" take less")


@pytest.mark.slow
def test_a_tiny_training_on_real_views_lowers_both_losses(modelnet_zip: Path, tmp_path: Path):
    out = tmp_path / "run"
    arguments = ["--preset", "tiny", "--set", "diffusion_stage.log_every=10"]
    result = command("train", "--data", modelnet_zip, "--out", out, *arguments)
    assert (result.code, result.errors) == (0, [])
    for stage in ("autoencoder", "diffusion"):
        points = curve(out / f"{stage}.csv")
        assert float(points[-1]["loss"]) < 0.8 * float(points[0]["loss"])
        assert float(points[-1]["validation_loss"]) < float(points[0]["validation_loss"])

    completed = tmp_path / "completed"
    data = ["--data", modelnet_zip, "--split", "test", "--view", "front", "--target", "back"]
    result = command("generate", *data, "--out", completed, "--checkpoint", out, "--steps", "4")
    assert (result.code, result.errors) == (0, [])
    rows = [json.loads(line) for line in (completed / "metadata.jsonl").read_text().splitlines()]
    assert len(rows) > 500 and {row["view"] for row in rows} == {"back"}
    assert all((completed / row["file_name"]).is_file() for row in rows)
