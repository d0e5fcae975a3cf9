"""The loop ends where numbers are no longer finite, and its learning rate is the one that is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch._dynamo
from helpers.networks import curve
from torch._inductor.exc import InvalidCxxCompiler

from dimvida.errors import DimvidaError
from dimvida.models.checkpoint import load_checkpoint
from dimvida.training import loop
from dimvida.training.config import TrainConfig, load_preset
from dimvida.training.data import TrainingData
from dimvida.training.loop import learning_rate

from .conftest import run, with_stage


def test_a_diverging_run_stops_and_keeps_the_last_state(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    assert not run(tmp_path, fast_config, data, stop=5)
    before = (tmp_path / "autoencoder.state").read_bytes()
    data = dataclasses.replace(data, images=data.images.float() * float("nan"))
    with pytest.raises(DimvidaError, match=r"^autoencoder: the loss became nan at step 5; .* --init \S+$"):
        run(tmp_path, fast_config, data, resume=True)
    assert (tmp_path / "autoencoder.state").read_bytes() == before


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    config = with_stage(fast_config, "autoencoder", lr=1e39, save_every=1)
    with pytest.raises(DimvidaError, match=r"the weights became .* at step 1; .* autoencoder_stage\.lr below 1e\+39$"):
        run(tmp_path, config, data)
    assert not (tmp_path / "autoencoder.state").exists()


def test_after_a_divergence_the_advice_helps(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    config = with_stage(with_stage(fast_config, "autoencoder", steps=3), "diffusion", lr=1e30, steps=10)
    with pytest.raises(DimvidaError) as caught:
        run(tmp_path / "high", config, data)
    said = f"--init {tmp_path / 'high'} --stage diffusion"
    assert "diffusion_stage.lr below 1e+30" in str(caught.value) and said in str(caught.value)
    lower = with_stage(config, "diffusion", lr=1e-3)
    assert run(tmp_path / "lower", lower, data, init=load_checkpoint(tmp_path / "high"), stage="diffusion")


@pytest.fixture
def failing_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there is none, or where a signal reached its processes."""

    def fail(*arguments: object, **batch: object) -> None:
        raise InvalidCxxCompiler

    monkeypatch.setattr(loop.torch, "compile", lambda module: fail)


def test_interrupted_while_compiling_it_saves_and_goes_on(
    tmp_path: Path, fast_config: TrainConfig, data: TrainingData, failing_compiler: None
):
    config = with_stage(fast_config, "autoencoder", compile=True)
    assert not run(tmp_path, config, data, stop=1)  # asked before the step, and when it has failed
    assert (tmp_path / "autoencoder.state").is_file()


def test_without_a_compiler_one_line_says_what_to_do(
    tmp_path: Path, fast_config: TrainConfig, data: TrainingData, failing_compiler: None
):
    config = with_stage(fast_config, "autoencoder", compile=True)
    with pytest.raises(DimvidaError, match=r"^autoencoder: torch.compile failed \(.*\); --set autoencoder_stage.com"):
        run(tmp_path, config, data)


@pytest.mark.slow
def test_a_compiled_stage_trains_alike(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    short = with_stage(with_stage(fast_config, "autoencoder", steps=3), "diffusion", steps=4, log_every=1)
    both = with_stage(with_stage(short, "autoencoder", compile=True), "diffusion", compile=True)
    counters = torch._dynamo.utils.counters
    counters.clear()
    assert run(tmp_path / "plain", short, data) and not counters["stats"]
    # Traced as ever, but not made into machine code, which takes a minute.
    with torch.compiler.set_stance(force_backend="aot_eager"):
        assert run(tmp_path / "compiled", both, data)
    assert counters["stats"]["unique_graphs"] >= 2 and not counters["graph_break"]
    for stage in ("autoencoder", "diffusion"):
        plain, compiled = (
            [float(row["loss"]) for row in curve(tmp_path / name / f"{stage}.csv")] for name in ("plain", "compiled")
        )
        assert plain == pytest.approx(compiled, rel=1e-4)


def test_learning_rate_warms_up_and_anneals():
    stage = load_preset("tiny", ["diffusion_stage.lr=1.0"]).diffusion_stage
    rates = [learning_rate(stage, step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 20, rel=1e-4)
    assert max(rates) == pytest.approx(1, abs=1e-2)
    assert rates[500] == pytest.approx(0.5)
    assert rates[-1] < 1e-5


def test_a_cooldown_takes_the_last_fifth():
    stage = load_preset("tiny", ["diffusion_stage.lr=1.0", "diffusion_stage.lr_schedule=cooldown"]).diffusion_stage
    rates = [learning_rate(stage, step, 1000) for step in range(1000)]
    assert rates[:20] == pytest.approx([step / 20 for step in range(1, 21)])
    assert set(rates[20:800]) == {1.0}
    assert rates[800:] == pytest.approx([(1000 - step) / 200 for step in range(800, 1000)])


def test_a_training_is_shortened_to_cool_down_from_where_it_is():
    stage = load_preset("tiny", ["diffusion_stage.lr=1.0", "diffusion_stage.lr_schedule=cooldown"]).diffusion_stage
    assert learning_rate(stage, 800, 10_000) == pytest.approx(learning_rate(stage, 800, 1000)) == 1.0
    assert learning_rate(stage, 900, 1000) == pytest.approx(0.5)


@pytest.mark.parametrize("schedule", ["cosine", "cooldown"])
def test_a_longer_schedule_is_warmed_up_to(schedule: str):
    options = ["diffusion_stage.lr=1.0", f"diffusion_stage.lr_schedule={schedule}"]
    stage = load_preset("tiny", options).diffusion_stage
    rates = [learning_rate(stage, step, 4000, lengthened_at=1000) for step in range(1000, 4000)]
    assert rates[0] == pytest.approx({"cosine": 0.854, "cooldown": 1.0}[schedule] / 20, rel=1e-2)
    assert rates[19:] == [learning_rate(stage, step, 4000) for step in range(1019, 4000)]
