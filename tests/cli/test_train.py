"""``dimvida train``: what it prints, refuses and leaves behind, in this process, in others and on a terminal."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest
import torch
from boxes import FAST, SIZE, VIEWS, write_boxes
from rich.cells import cell_len

from dimvida.cli.app import run
from dimvida.errors import InputError
from dimvida.models.checkpoint import WEIGHT_FILES, load_checkpoint
from dimvida.sampling.multiview import load

SHORT = (*FAST, "autoencoder_stage.steps=30", "diffusion_stage.steps=60", "diffusion_stage.save_every=1000")
# Long enough to be interrupted in the middle, and saved often enough to lose little.
LONG = (
    *FAST,
    "autoencoder_stage.steps=150",
    "autoencoder_stage.save_every=60",
    "autoencoder_stage.log_every=5",
    "diffusion_stage.steps=500",
    "diffusion_stage.save_every=200",
    "diffusion_stage.log_every=5",
)
PATIENCE = 900  # seconds after which a process hangs


@dataclass(frozen=True)
class Result:
    """One command's end."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error:")]


def command(*arguments: str | Path) -> Result:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Result(code, out.getvalue(), err.getvalue())


def options(settings: tuple[str, ...] | list[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def train(data: Path, out: Path, *arguments: str | Path) -> Result:
    return command("train", "--data", data, "--out", out, "--preset", "tiny", *options(SHORT), *arguments)


def weights(out: Path) -> list[bytes]:
    return [(out / "checkpoint" / name).read_bytes() for name in WEIGHT_FILES]


def curve(path: Path) -> list[dict[str, str]]:
    with open(path) as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"]
    return rows


def description(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 objects to train on and 10 to test with."""
    root = write_boxes(tmp_path_factory.mktemp("data") / "boxes", 40)
    return write_boxes(root, 10, "test", first=40)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, boxes: Path) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("runs") / "whole"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in every test of this folder, which compare with this run bit for bit
    try:
        return out, train(boxes, out)
    finally:
        torch.set_num_threads(threads)


def test_trains_and_says_where_the_checkpoint_is(finished: tuple[Path, Result]):
    out, result = finished
    assert (result.code, result.out, result.errors) == (0, f"checkpoint: {out / 'checkpoint'}\n", [])
    for line in ("reading: 40/40 objects", "autoencoder: 30/30 steps", "diffusion: 60/60 steps"):
        assert line in result.err
    assert load_checkpoint(out).config.view_names == VIEWS
    assert curve(out / "diffusion.csv")[-1]["step"] == "60"


def test_trains_on_the_training_split_unless_told_otherwise(finished: tuple[Path, Result], boxes: Path, tmp_path: Path):
    data = description(finished[0])["data"]
    assert (data["split"], data["objects"] + data["validation_objects"]) == ("train", 40)
    assert train(boxes, tmp_path / "run", "--split", "test", "--minutes", "0.000001").code == 0
    data = description(tmp_path / "run")["data"]
    assert (data["split"], data["objects"] + data["validation_objects"]) == ("test", 10)


def test_resuming_a_finished_run_changes_nothing(finished: tuple[Path, Result], boxes: Path):
    out, _ = finished
    before = weights(out), curve(out / "diffusion.csv")
    result = train(boxes, out, "--resume")
    assert (result.code, result.out) == (0, f"checkpoint: {out / 'checkpoint'}\n")
    assert (weights(out), curve(out / "diffusion.csv")) == before


def test_an_existing_run_is_refused_and_kept(finished: tuple[Path, Result], boxes: Path):
    out, _ = finished
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    result = train(boxes, out)
    assert result.code == 2
    (line,) = result.errors
    assert str(out) in line and "--resume" in line and "--out" in line
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_out_of_time_leaves_a_checkpoint_and_goes_on_exactly(
    finished: tuple[Path, Result], boxes: Path, tmp_path: Path
):
    result = train(boxes, tmp_path, "--minutes", "0.000001")
    assert (result.code, result.errors) == (0, [])
    assert "--resume" in result.out and str(tmp_path / "checkpoint") in result.out
    load_checkpoint(tmp_path)
    assert train(boxes, tmp_path, "--resume").out == f"checkpoint: {tmp_path / 'checkpoint'}\n"
    assert weights(tmp_path) == weights(finished[0])
    assert curve(tmp_path / "autoencoder.csv") == curve(finished[0] / "autoencoder.csv")


def test_stages_can_be_run_one_by_one(finished: tuple[Path, Result], boxes: Path, tmp_path: Path):
    assert train(boxes, tmp_path, "--stage", "autoencoder").code == 0
    assert not (tmp_path / "diffusion.state").exists()
    assert train(boxes, tmp_path, "--stage", "diffusion").code == 0
    assert weights(tmp_path) == weights(finished[0])


def test_single_values_of_the_preset_are_replaced(finished: tuple[Path, Result], boxes: Path, tmp_path: Path):
    changes = ["diffusion_stage.steps=7", "seed=3", "storage.dtype=bfloat16"]
    assert train(boxes, tmp_path, *options(changes)).code == 0
    configuration = description(tmp_path)["configuration"]
    assert configuration["diffusion_stage"]["steps"] == 7
    assert (configuration["seed"], configuration["storage"]["dtype"]) == (3, "bfloat16")
    assert configuration["score"]["width"] == 32
    assert curve(tmp_path / "diffusion.csv")[-1]["step"] == "7"
    sizes = [(run / "checkpoint" / "score.safetensors").stat().st_size for run in (tmp_path, finished[0])]
    assert sizes[0] < 0.6 * sizes[1]
    assert curve(tmp_path / "autoencoder.csv") != curve(finished[0] / "autoencoder.csv")


def test_starts_from_the_weights_of_another_checkpoint(finished: tuple[Path, Result], boxes: Path, tmp_path: Path):
    out, _ = finished
    assert train(boxes, tmp_path, "--init", out, *options(["diffusion_stage.steps=20"])).code == 0
    for stage in ("autoencoder", "diffusion"):
        first, before = curve(tmp_path / f"{stage}.csv")[0], curve(out / f"{stage}.csv")[0]
        assert float(first["loss"]) < float(before["loss"])
    provenance = load_checkpoint(tmp_path).config.provenance
    assert provenance["init"]["checkpoint_sha256"] == load_checkpoint(out).digest


def test_initial_weights_of_other_sizes_are_refused(finished: tuple[Path, Result], boxes: Path, tmp_path: Path):
    result = train(boxes, tmp_path / "run", "--init", finished[0], "--set", "score.width=64")
    assert result.code == 2
    (line,) = result.errors
    assert "score" in line and "width=32" in line and "width=64" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("split", [["--split", "train"], []], ids=["split", "all"])
def test_trains_on_part_d_of_a_partition(boxes: Path, tmp_path: Path, split: list[str]):
    file, out = tmp_path / "parts.json", tmp_path / "run"
    assert command("data", "partition", boxes, "--output", file, *split).code == 0
    parts = json.loads(file.read_text())
    result = train(boxes, out, "--partition", file, "--minutes", "0.000001", *split)
    assert (result.code, result.errors) == (0, [])
    data = description(out)["data"]
    assert data["partition"] == "parts.json"
    assert data["objects"] + data["validation_objects"] == len(parts["d"]) < len(parts["d"]) + len(parts["e"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--stage", "classifier"], "--stage classifier"),
        (["--preset", "huge"], "'huge'"),
        (["--set", "score.widht=64"], "'widht'"),
        (["--set", "score.width=wide"], "width must be int"),
        (["--set", "nothing"], "--set nothing"),
        (["--set", "sampling.solver=leapfrog"], "'leapfrog'"),
        (["--set", "sampling.steps=0"], "steps"),
        (["--set", "sampling.x0_clip=-1.0"], "x0_clip"),
        (["--set", "autoencoder.channels=1"], "channels"),
        (["--set", "autoencoder.base=28"], "base"),
        (["--device", "abacus"], "--device abacus"),
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--data", "missing"], "missing: no such file or folder"),
        (["--split", "val"], "no split 'val'"),
        (["--partition", "missing.json"], "missing.json"),
        (["--init", "missing"], "missing"),
        (["--stage", "diffusion"], "--stage autoencoder first"),
        (["--minutes", "-1"], "--minutes"),
        (["--minutes", "soon"], "--minutes"),
        (["--epochs", "3"], "--epochs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_get_one_line_and_leave_nothing(boxes: Path, tmp_path: Path, arguments: list[str], named: str):
    out = tmp_path / "run"
    result = train(boxes, out, *arguments)
    assert result.code == 2
    (line,) = result.errors
    assert named in line
    assert "Traceback" not in result.err and not result.out
    assert not out.exists()


def test_required_options_are_named(boxes: Path, tmp_path: Path):
    for arguments, named in ((["--out", tmp_path / "run"], "--data"), (["--data", boxes], "--out")):
        result = command("train", *arguments)
        assert result.code == 2
        (line,) = result.errors
        assert named in line


def write_one_view(folder: Path) -> Path:
    for image in write_boxes(folder.with_name("source"), 3).rglob("front.png"):
        target = folder / "box" / f"{image.parent.name}__front.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        image.replace(target)
    return folder


def write_one_object(folder: Path) -> Path:
    return write_boxes(folder, 1)


def write_nothing(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("write", "named"),
    [
        (write_nothing, "empty"),
        (write_one_view, "at least two views"),
        (write_one_object, "at least 2 objects"),
    ],
)
def test_data_that_cannot_be_trained_on(tmp_path: Path, write: Callable[[Path], Path], named: str):
    result = train(write(tmp_path / "data"), tmp_path / "run")
    assert result.code == 2
    (line,) = result.errors
    assert named in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("out", ["file", "file/run"])
def test_an_output_that_is_a_file_is_refused(boxes: Path, tmp_path: Path, out: str):
    (tmp_path / "file").write_text("mine")
    result = train(boxes, tmp_path / out)
    assert result.code == 2
    (line,) = result.errors
    assert str(tmp_path / "file") in line
    assert (tmp_path / "file").read_text() == "mine"


def test_resuming_with_other_options_is_refused_and_changes_nothing(
    finished: tuple[Path, Result], boxes: Path, tmp_path: Path
):
    out, _ = finished
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    result = train(boxes, out, "--resume", "--set", "seed=1")
    assert result.code == 2
    (line,) = result.errors
    assert str(out) in line and "another configuration" in line
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_an_unreadable_image_is_named_and_its_object_left_out(tmp_path: Path):
    data = write_boxes(tmp_path / "data", 6)
    broken = data / "train" / "box" / "box_0002" / "left.png"
    broken.write_bytes(broken.read_bytes()[:60])
    result = train(data, tmp_path / "run", "--minutes", "0.000001")
    assert f"skipped {broken}: " in result.err
    described = description(tmp_path / "run")["data"]
    assert described["objects"] + described["validation_objects"] == 5


# In processes of their own, as a person or a batch system starts and stops them.


def command_line(data: Path, out: Path, *arguments: str) -> list[str]:
    start = [sys.executable, "-m", "dimvida", "train", "--data", str(data), "--out", str(out), "--preset", "tiny"]
    return [*start, *options(LONG), *arguments]


def environment() -> dict[str, str]:
    # With one thread sums are taken in one order, so that equal weights are equal to the last bit.
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    return {**inherited, "OMP_NUM_THREADS": "1", "TERM": "xterm"}


def start(data: Path, out: Path, *arguments: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command_line(data, out, *arguments), env=environment(), stdout=pipe, stderr=pipe, text=True)


def wait_for(out: Path, stage: str, step: int, alive: Callable[[], bool]) -> None:
    """Return when the learning curve of a stage has reached a step."""
    path = out / f"{stage}.csv"
    deadline = time.monotonic() + PATIENCE
    while not path.exists() or int(curve(path)[-1]["step"]) < step:
        assert alive(), f"the training ended before step {step} of {stage}"
        assert time.monotonic() < deadline, f"the training hangs before step {step} of {stage}"
        time.sleep(0.005)


def finish(process: subprocess.Popen[str]) -> Result:
    out, err = process.communicate(timeout=PATIENCE)
    return Result(process.returncode, out, err)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, boxes: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "uninterrupted"
    result = finish(start(boxes, out))
    assert result.code == 0, result.err
    return out


def assert_equal_runs(out: Path, other: Path) -> None:
    for stage in ("autoencoder", "diffusion"):
        assert curve(out / f"{stage}.csv") == curve(other / f"{stage}.csv")
    assert weights(out) == weights(other)


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

    wait_for(out, "autoencoder", 5, alive)
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
    assert code == 0
    assert "--resume" in " ".join(lines)
    assert_usable(out, generates=False)
    assert len(curve(out / "autoencoder.csv")) < len(curve(uninterrupted / "autoencoder.csv"))

    process = start(boxes, out, "--resume")
    wait_for(out, "diffusion", 5, lambda: process.poll() is None)
    process.send_signal(signal.SIGTERM)
    result = finish(process)
    assert (result.code, result.errors) == (0, [])
    assert "--resume" in result.out and str(out / "checkpoint") in result.out
    assert_usable(out, generates=True)
    assert len(curve(out / "diffusion.csv")) < len(curve(uninterrupted / "diffusion.csv"))

    assert finish(start(boxes, out, "--resume")).code == 0
    assert_equal_runs(out, uninterrupted)


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_bytes(uninterrupted: Path, boxes: Path, tmp_path: Path):
    stage, step = random.choice([("autoencoder", random.randint(1, 140)), ("diffusion", random.randint(1, 480))])
    print(f"killed at about step {step} of {stage}")  # shown if the test fails
    process = start(boxes, tmp_path)
    wait_for(tmp_path, stage, step, lambda: process.poll() is None)
    process.kill()
    assert finish(process).code == -signal.SIGKILL
    assert finish(start(boxes, tmp_path, "--resume")).code == 0
    assert_equal_runs(tmp_path, uninterrupted)


@pytest.mark.slow
def test_one_minute_on_real_views_lowers_both_losses(modelnet_zip: Path, tmp_path: Path):
    out = tmp_path / "run"
    arguments = ["--preset", "tiny", "--minutes", "1", "--set", "diffusion_stage.log_every=10"]
    result = command("train", "--data", modelnet_zip, "--out", out, *arguments)
    assert (result.code, result.errors) == (0, [])
    for stage in ("autoencoder", "diffusion"):
        points = curve(out / f"{stage}.csv")
        assert float(points[-1]["loss"]) < 0.8 * float(points[0]["loss"])
        assert float(points[-1]["validation_loss"]) < float(points[0]["validation_loss"])

    completed = tmp_path / "completed"
    data = ["--input", modelnet_zip, "--split", "test", "--view", "front", "--target", "back"]
    result = command("generate", *data, "--output", completed, "--checkpoint", out, "--steps", "4")
    assert (result.code, result.errors) == (0, [])
    rows = [json.loads(line) for line in (completed / "metadata.jsonl").read_text().splitlines()]
    assert len(rows) > 500 and {row["view"] for row in rows} == {"back"}
    assert all((completed / row["file_name"]).is_file() for row in rows)
