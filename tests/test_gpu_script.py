"""``scripts/gpu``: stages that fail, hang or cannot run, and on the CPU the whole of each subcommand at tiny sizes."""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.commands import PATIENCE

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "gpu"
SAMPLE = ROOT / "dimvida" / "assets" / "sample" / "true"

SMALL = ("autoencoder.base=8", "score.width=24", "autoencoder_stage.batch=8", "diffusion_stage.batch=8")


@pytest.fixture(scope="module", autouse=True)
def scripts_are_importable():
    """The script imports the module beside it."""
    sys.path.insert(0, str(SCRIPT.parent))
    yield
    sys.path.remove(str(SCRIPT.parent))


@pytest.fixture(scope="module")
def stages(scripts_are_importable: None) -> ModuleType:
    return importlib.import_module("gpu_stages")


@pytest.fixture(scope="module")
def gpu(scripts_are_importable: None) -> ModuleType:
    """The script as a module."""
    loader = importlib.machinery.SourceFileLoader("gpu_script", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("gpu_script", loader))
    loader.exec_module(module)
    return module


def run_script(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the script in a process of its own."""
    variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=variables)


def outcomes(out: Path) -> dict[str, str]:
    """How each stage ended, by name."""
    return {stage["name"]: stage["outcome"] for stage in json.loads((out / "summary.json").read_text())["stages"]}


@pytest.fixture
def run(stages: ModuleType, tmp_path: Path):
    """A run on the CPU that has not done anything, and stages of Python code for it."""
    options = argparse.Namespace(subcommand="check", out=tmp_path, device="cpu", no_build=True, minutes=10.0)
    made = stages.Run(options, tmp_path / "work")

    def stage(name: str, code: str, limit: float = PATIENCE, **fields: object) -> object:
        return stages.Stage(name, [sys.executable, "-c", code], limit, **fields)

    made.stage = stage
    return made


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path):
    done = run_script("measure", "--out", tmp_path / "out")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: no NVIDIA GPU here (") and not (tmp_path / "out").exists()


@pytest.mark.parametrize("subcommand", [(), ("check",), ("measure",), ("train",)])
def test_it_can_be_run_and_explains_itself(subcommand: tuple[str, ...]):
    assert os.access(SCRIPT, os.X_OK)
    done = run_script(*subcommand, "--help")
    assert done.returncode == 0
    for text in ("--out", "--minutes", "--device", "--no-build") if subcommand else ("check", "measure", "train"):
        assert text in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "required"),
        (("check", "--nope"), "--nope"),
        (("check", "--minutes", "0"), "--minutes 0"),
        (("measure", "--only", "training,pages"), "--only pages"),
        (("train",), "--data"),
        (("train", "--data", "nowhere.zip"), "--data nowhere.zip: does not exist"),
        (("train", "--data", ".", "--preset", "huge"), "huge"),
    ],
)
def test_bad_options(tmp_path: Path, arguments: tuple[str, ...], named: str):
    done = run_script(*arguments, *(("--out", tmp_path / "out") if arguments else ()))
    assert done.returncode == 2 and named in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_failing_stage_stops_no_other(run, tmp_path: Path):
    run.do(
        run.stage("one", "print('first'); raise SystemExit(3)"),
        run.stage("two", "import os; print(os.environ['TWO'])", environment={"TWO": "second"}),
        run.stage("three", "import os; os.kill(os.getpid(), 11)"),
        run.stage("four", "import os; print('last', os.environ.get('TWO'))"),
    )
    assert outcomes(tmp_path) == {"one": "failed", "two": "done", "three": "failed", "four": "done"}
    lines = [line.partition(":")[0] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert lines == ["==> one", "first", "==> two", "second", "==> three", "==> four", "last None"]


def test_a_stage_that_meets_its_limit_is_stopped_and_the_next_one_runs(run, tmp_path: Path):
    run.do(run.stage("hangs", "import time; time.sleep(600)", 1.0), run.stage("after", ""))
    assert outcomes(tmp_path) == {"hangs": "stopped at its limit", "after": "done"}


def test_time_is_kept_for_later_stages(run, tmp_path: Path):
    run.end = time.monotonic() + PATIENCE
    run.do(run.stage("one", ""), run.stage("two", "", keep=10.0), run.stage("three", "", keep=2 * PATIENCE))
    none_left = "not run: no time left"
    assert outcomes(tmp_path) == {"one": none_left, "two": none_left, "three": "done"}


def test_what_cannot_run_is_named(run, stages: ModuleType, tmp_path: Path, monkeypatch):
    run.do(run.stage("sanitizer", "", needs="no-such-program"))
    assert outcomes(tmp_path)["sanitizer"].startswith("not run: there is no no-such-program, on PATH or in ")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lpips" else found(name))
    assert stages.untestable(run) == [Path("tests/evaluation/test_networks.py")]
    assert run.left_out[-1] == "left out: tests/evaluation/test_networks.py (needs lpips)"


def test_without_kernels_nothing_else_runs(run, stages: ModuleType, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(stages, "wait", lambda process, limit: process.wait() is None)  # however long torch takes
    run.options.device = "tpu"
    run.build()
    run.do(run.stage("after", ""))
    assert outcomes(tmp_path) == {"kernels": "failed", "after": "not run: there are no kernels for the device"}


def test_what_is_planned_on_a_gpu_fits_and_covers_everything(run, gpu: ModuleType, monkeypatch):
    planned: list = []
    run.gpu = {"name": "GPU X", "capability": "90"}
    run.do = lambda *stages: planned.extend(stages)
    monkeypatch.setattr(sys, "argv", ["gpu", "check"])
    run.options = gpu.parse_options()
    gpu.check(run)
    names = ["doctor", "first use", "tests", "memcheck", "racecheck", "initcheck", "synccheck"]
    assert [stage.name for stage in planned] == names
    for stage in planned[3:]:
        assert stage.command[stage.command.index("--tool") + 1] == stage.name
        assert "kns=dimvida" in stage.command and "--error-exitcode" in stage.command
        assert stage.environment == {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"} and stage.needs == "compute-sanitizer"
    build = 180 + 30
    assert build + sum(stage.keep for stage in planned) <= 8.75 * 60  # even if the build takes all its time
    planned.clear()
    monkeypatch.setattr(sys, "argv", ["gpu", "measure"])
    run.options = gpu.parse_options()
    gpu.measure(run)
    names = ["sampling-20", "model", "generation", "training", "sampling-250", "compiled-20"]
    assert [stage.name for stage in planned] == names
    assert build + sum(stage.keep for stage in planned) <= 8.75 * 60
    assert ["--profile" in stage.command for stage in planned] == [True, *[False] * 5]
    # Compiling keeps no other arm from its table, and is measured beside the engine.
    arms = {stage.name: stage.command[stage.command.index("--arms") + 1] for stage in planned if stage.name[-1] == "0"}
    assert arms["compiled-20"] == "compile-bf16,fused-bf16"
    assert arms["sampling-20"] == arms["sampling-250"] == "eager-fp32,eager-tf32,eager-bf16,eager-bf16+graph,fused-bf16"
    assert len(planned) + len(["log.txt", "summary.json"]) <= 8  # files


def test_a_test_file_that_cannot_be_imported_stops_no_other(run, gpu: ModuleType, monkeypatch):
    planned: list = []
    run.do = lambda *stages: planned.extend(stages)
    (run.out / "test_one.py").write_text("import there_is_no_such_module\n")
    (run.out / "test_two.py").write_text("def test_it():\n    print('it ran')\n")
    monkeypatch.setattr(sys, "argv", ["gpu", "check", "--device", "cpu", "--tests", f"-s {run.out}"])
    run.options = gpu.parse_options()
    gpu.check(run)
    command = next(stage.command for stage in planned if stage.name == "tests")
    command = command[: command.index("-n")] if "-n" in command else command
    done = subprocess.run(command, capture_output=True, text=True, cwd=run.out)
    assert done.returncode == 1 and "it ran" in done.stdout and "there_is_no_such_module" in done.stdout


def test_all_dependencies_are_named_where_they_are_absent(stages: ModuleType):
    lines = (ROOT / "pyproject.toml").read_text().partition("\ndependencies = [\n")[2].partition("\n]")[0].splitlines()
    names = {re.match(r"\W*([\w-]+)", line)[1] for line in lines} - {"tomli"}  # of a Python that has none of its own
    named = {module for modules in stages.NEEDED.values() for module in modules}
    assert len(names) > 10 and {"PIL" if name == "pillow" else name for name in names} <= named


def test_steps_that_fit(gpu: ModuleType, tmp_path: Path):
    curve = tmp_path / "autoencoder.csv"
    assert gpu.steps_per_second(curve) is None
    curve.write_text("step,seconds\n25,9.0\n")
    assert gpu.steps_per_second(curve) is None
    curve.write_text("step,seconds\n25,9.0\n50,10.0\n100,12.0\n")
    assert gpu.steps_per_second(curve) == 25.0  # what happens once, before the first point, is left out
    assert gpu.fitting(10.0, 10.0) == 92 and gpu.fitting(10.0, -3.0) == 1


@pytest.mark.parametrize(("views", "known"), [(2, "1"), (4, "1,2,3"), (16, "1,2,3")])
def test_an_evaluation_is_short_however_many_views_there_are(run, gpu: ModuleType, monkeypatch, views: int, known: str):
    planned: list = []
    run.do = lambda *stages: planned.extend(stages)
    (run.out / "checkpoint").mkdir()
    names = [f"view{number:02}" for number in range(views)]
    (run.out / "checkpoint" / "config.json").write_text(json.dumps({"view_names": names}))
    monkeypatch.setattr(sys, "argv", ["gpu", "train", "--data", str(SAMPLE), "--out", str(run.out)])
    run.options = gpu.parse_options()
    gpu.finish(run, run.out)
    command = planned[0].command
    assert (planned[0].name, command[command.index("--known") + 1]) == ("evaluation", known)
    assert command[command.index("--subsets") + 1] == "6"  # all sets of two of four


@pytest.mark.parametrize("preset", ["paper", "small", "base", "tiny"])
def test_the_settings_are_ones_of_the_presets(gpu: ModuleType, preset: str):
    from dimvida.training.config import load_preset

    config = load_preset(preset, [*gpu.FOR_MINUTES[preset], *gpu.lengths("diffusion", 6000, 60)])
    assert config.autoencoder_stage.lr_schedule == config.diffusion_stage.lr_schedule == "cosine"
    assert (config.diffusion_stage.steps, config.diffusion_stage.log_every) == (6000, 100)


@pytest.mark.slow
def test_check_builds_and_tests_a_copy(tmp_path: Path):
    tests = "tests/ops/test_noise.py tests/ops/test_pack_images.py"
    done = run_script("check", "--device", "cpu", "--tests", tests, "--out", tmp_path, "--minutes", 60)
    log = (tmp_path / "log.txt").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log[-2000:]
    assert outcomes(tmp_path) == dict.fromkeys(["build", "kernels", "doctor", "first use", "tests"], "done")
    assert "/checkout/dimvida/ops/" in log and " passed" in log  # what is used is what was built
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert f"wrote {tmp_path / 'sheet.png'}: " in done.stdout and done.stdout.endswith("everything was done\n")


@pytest.mark.slow
def test_measure_leaves_what_the_benchmarks_write(tmp_path: Path):
    sizes = ("--preset", "tiny", "--batch", "4,1", "--steps", "2,3", "--repeats", 1, "--arms", "eager-fp32,fused-fp32")
    sizes += ("--model-batch", 2, "--objects", 8, "--generate-batch", 4, "--format", "npy,webdataset")
    done = run_script("measure", "--device", "cpu", "--no-build", *sizes, "--out", tmp_path, "--minutes", 60)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "log.txt").read_text()[-2000:]
    names = {"log.txt", "summary.json", "sampling-2.json", "sampling-3.json", "generation.json", "training.json"}
    names |= {"model.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    results = {name: json.loads((tmp_path / name).read_text()) for name in names - {"log.txt"}}
    for steps in (2, 3):
        sampled = results[f"sampling-{steps}.json"]
        assert sampled["complete"] and [table["batch"] for table in sampled["results"]] == [4, 1]
    assert [run["format"] for run in results["generation.json"]["runs"]] == ["npy", "webdataset"]
    assert [row["stage"] for row in results["training.json"]["results"]] == ["autoencoder", "diffusion"]
    assert len(results["model.json"]["lines"]) > 10


@pytest.mark.slow
def test_train_leaves_a_model_and_its_scores(tmp_path: Path):
    settings = [word for value in SMALL for word in ("--set", value)]
    sizes = ("--preset", "tiny", "--trial-steps", 8, "--most-steps", 12, "--objects", 4, "--split", "", *settings)
    options = ("--device", "cpu", "--no-build", "--data", SAMPLE, "--out", tmp_path / "out", "--minutes", 60)
    done = run_script("train", *options, *sizes)
    out = tmp_path / "out"
    assert done.returncode == 0, done.stdout + done.stderr + (out / "log.txt").read_text()[-2000:]
    training = {"curves.png", "autoencoder.csv", "diffusion.csv", "checkpoint.tar"}
    assert {path.name for path in out.iterdir()} == training | {
        "log.txt",
        "summary.json",
        "evaluation.json",
        "sheet.png",
    }
    last = (out / "diffusion.csv").read_text().splitlines()[-1].split(",")
    assert last[0] == "12"
    scores = json.loads((out / "evaluation.json").read_text())
    assert scores["objects"] == 4 and len(scores["known"]) == 3
    with tarfile.open(out / "checkpoint.tar") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    from dimvida.sampling.multiview import load

    assert load(tmp_path / "unpacked" / "checkpoint").is_trained
