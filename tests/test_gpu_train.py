"""``scripts/gpu_train``: how it divides the time, what it keeps, and on the CPU the whole of it."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from pathlib import Path

import pytest
from gpu_scripts import load_script, run_script

from dimvida.training.config import load_preset

gpu_training, gpu_train = load_script("gpu_training"), load_script("gpu_train")
GPU = {"name": "GPU X", "capability": "9.0", "count": 1, "memory_gib": 80.0}


def write_curve(run: Path, stage: str, points: list[tuple[int, float]]) -> None:
    run.mkdir(exist_ok=True)
    lines = [f"{step},0.5,1.5,0.001,{seconds},1.25" for step, seconds in points]
    (run / f"{stage}.csv").write_text("\n".join(["step,epoch,loss,lr,seconds,validation_loss", *lines]) + "\n")


@pytest.mark.parametrize("preset", gpu_training.FOR_MINUTES)
def test_the_settings_are_ones_of_the_presets(preset: str):
    config = load_preset(preset, list(gpu_training.FOR_MINUTES[preset]))
    fitted = load_preset(preset, gpu_training.settings_for("diffusion", 100.0, 60.0, 25))
    if preset != "tiny":
        assert config.autoencoder_stage.lr_schedule == config.diffusion_stage.lr_schedule == "cosine"
        assert config.storage.dtype == "float16"
    assert fitted.diffusion_stage.steps == 5520 and fitted.diffusion_stage.log_every == 92
    load_preset("tiny", list(gpu_train.REHEARSED))


def test_steps_that_fit():
    values = dict(setting.split("=") for setting in gpu_training.settings_for("autoencoder", 10.0, 10.0, 25))
    assert values["autoencoder_stage.steps"] == "92"  # of 100: what was measured in seconds is not exact
    assert values["autoencoder_stage.log_every"] == "25"
    none_left = dict(setting.split("=") for setting in gpu_training.settings_for("autoencoder", 10.0, -3.0, 25))
    assert none_left["autoencoder_stage.steps"] == none_left["autoencoder_stage.log_every"] == "1"


def test_rates_leave_out_what_happens_once(tmp_path: Path):
    write_curve(tmp_path / "trial", "autoencoder", [(25, 9.0), (50, 10.0), (100, 12.0)])
    write_curve(tmp_path / "trial", "diffusion", [(25, 2.0)])
    curve = gpu_training.read_curve(tmp_path / "trial", "autoencoder")
    assert gpu_training.steps_per_second(curve) == 25.0
    assert gpu_training.steps_per_second(gpu_training.read_curve(tmp_path / "trial", "diffusion")) is None
    assert gpu_training.read_curve(tmp_path / "nowhere", "diffusion") == []
    assert gpu_training.overhead(tmp_path / "trial", 20.0) == 6.0  # 20 - 12 - 2
    assert gpu_training.overhead(tmp_path / "trial", 5.0) == 0.0


def test_the_diffusion_gets_the_time_that_is_left(tmp_path: Path, monkeypatch):
    """Only commands are looked at: what stands for them leaves the curves that a machine of known speed would."""
    clock = 1000.0

    class Clocked(sys.modules["gpu_session"].Session):
        left = property(lambda self: self.end - clock)

        def run(self, stages, after=None):
            nonlocal clock
            for stage in stages:
                options = dict(zip(stage.command[::1], stage.command[1:], strict=False))
                sets = dict(word.split("=") for word in stage.command if "_stage." in word)
                seconds = {"trial": 40.0, "autoencoder": 100.0, "diffusion": 150.0}[stage.name]
                write_curve(Path(options["--out"]), "autoencoder", [(25, 1.0), (75, 11.0)])
                write_curve(Path(options["--out"]), "diffusion", [(25, 1.0), (1025, 21.0)])
                stage.seconds, clock = seconds, clock + seconds
                self.stages.append(stage)
                ran.append((stage, options, sets))

    ran: list = []
    session = Clocked("gpu_train", tmp_path, tmp_path, GPU, "python", dict(os.environ), clock, clock + 400.0)
    training = gpu_train.Training(session, "data.zip", "paper", ["seed=3"], 0.4)
    assert gpu_train.train(training)
    (trial, *_), (autoencoder, first, chosen), (diffusion, second, then) = ran
    assert (trial.name, autoencoder.name, diffusion.name) == ("trial", "autoencoder", "diffusion")
    # 400 - 40 of the trial - 90 for what follows, less the 8 that went by without training in the trial, twice.
    assert chosen["autoencoder_stage.steps"] == str(int(0.4 * (400 - 40 - 90 - 2 * 8) * 5 * 0.92))
    assert first["--stage"] == "autoencoder"
    assert float(first["--minutes"]) == pytest.approx(1.2 * 0.4 * 254 / 60, abs=1e-3)
    assert then["diffusion_stage.steps"] == str(int((400 - 40 - 100 - 90 - 8) * 50 * 0.92))
    assert then["autoencoder_stage.steps"] == chosen["autoencoder_stage.steps"]  # else --resume refuses
    assert "--resume" in diffusion.command
    assert 60 * float(second["--minutes"]) <= diffusion.limit == 400 - 40 - 100 - 90
    for stage, _, _ in ran:
        assert "seed=3" in stage.command


def test_what_does_not_fit_is_left_out_and_named(tmp_path: Path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name, size in (("config.json", 100), ("score.safetensors", 90_000), ("autoencoder.safetensors", 20_000)):
        (folder / name).write_bytes(os.urandom(size))
    target = tmp_path / "checkpoint.tar"
    files = gpu_training.pack_checkpoint(folder, target, 64_000)
    assert [(file["name"], file["kept"]) for file in files] == [
        ("config.json", True), ("autoencoder.safetensors", True), ("score.safetensors", False),
    ]  # fmt: skip
    assert target.stat().st_size <= 64_000
    with tarfile.open(target) as archive:
        assert archive.getnames() == ["checkpoint/config.json", "checkpoint/autoencoder.safetensors"]
    assert all(file["kept"] for file in gpu_training.pack_checkpoint(folder, target, 2**20))
    assert target.stat().st_size <= 2**20


def test_the_page_says_when_a_stage_was_cut_off():
    stage = {"planned_steps": 100, "trial_steps_per_second": 5.0, "steps_per_second": 4.0}
    curve = [{"step": 80.0, "seconds": 20.0, "loss": 0.5, "validation_loss": 0.6}]
    result = {
        "data": "x.zip", "preset": "paper", "settings": [], "evaluation": None, "checkpoint": [],
        "training": {"autoencoder": {**stage, "curve": [{**curve[0], "step": 100.0}]},
                     "diffusion": {**stage, "curve": curve}},
        "facts": {"gpu": GPU, "commit": "abc", "date": "d", "minutes": 1, "versions": {}, "stages": []},
    }  # fmt: skip
    page = gpu_training.make_page(result)
    assert page.startswith("# Training, preset paper\n")
    assert "| autoencoder | 100 | yes | 5.00 | 4.00 | 20.0 | 0.500 | 0.600 |" in page
    assert "| diffusion | 100 | no: 80 of them" in page
    assert "Nothing was evaluated." in page


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((), "--data is needed"),
        (("--data", "nowhere.zip"), "--data nowhere.zip: does not exist"),
        (("--rehearse", "--autoencoder-share", "1"), "--autoencoder-share 1"),
        (("--rehearse", "--preset", "huge"), "invalid choice"),
    ],
)
def test_bad_options(tmp_path: Path, options: tuple[str, ...], named: str):
    done = run_script("gpu_train", *options, "--out", tmp_path / "out")
    assert done.returncode == 2 and named in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_rehearsal(tmp_path: Path):
    done = run_script("gpu_train", "--rehearse", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "log.txt").read_text()[-2000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint.tar", "curves.png", "log.txt", "sheet.png", "train-tiny.json", "train-tiny.md",
    ]  # fmt: skip
    result = json.loads((tmp_path / "train-tiny.json").read_text())
    for stage in result["training"].values():
        assert stage["curve"][-1]["step"] == stage["planned_steps"]
        # A cosine has come down at the last step.
        assert stage["curve"][-1]["lr"] < 0.2 * max(point["lr"] for point in stage["curve"])
    assert result["evaluation"]["objects"] > 0 and all(file["kept"] for file in result["checkpoint"])
    page = (tmp_path / "train-tiny.md").read_text()
    assert page.startswith("# Rehearsal on a CPU") and "| reconstruction |" in page
    with tarfile.open(tmp_path / "checkpoint.tar") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    from dimvida.sampling.multiview import load

    assert load(tmp_path / "unpacked" / "checkpoint").is_trained
