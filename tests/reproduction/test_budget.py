"""How a budget of time becomes lengths of stages."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from dimvida.errors import DimvidaError, InputError
from dimvida.records import config_from_json
from dimvida.reproduction.budget import Speeds, StageLengths, divide_budget, seconds_per_step
from dimvida.reproduction.stages import ChainOptions

SPEEDS = Speeds(
    autoencoder=0.5,
    diffusion=0.1,
    classifiers={"resnet18": 0.2, "mobilenet-v3-large": 0.1},
    evaluation=1.0,
    trial=60.0,
)
OBJECTS = {"d": 600, "c": 200, "e": 200}


def plan(minutes: float, speeds: Speeds = SPEEDS, **options) -> StageLengths:
    return divide_budget(ChainOptions(Path("d"), preset="small", budget=minutes, **options), speeds, OBJECTS, views=4)


def seconds(plan: StageLengths, seeds: int, tables: int = 1) -> float:
    """What a plan takes, without encoding and everything that is not measured."""
    trainings = 2 * seeds * tables
    return (
        plan.autoencoder * SPEEDS.autoencoder
        + plan.diffusion * SPEEDS.diffusion
        + plan.judge * SPEEDS.classifiers["resnet18"]
        + plan.study * trainings * sum(SPEEDS.classifiers.values())
        + plan.evaluated * SPEEDS.evaluation
    )


@pytest.mark.parametrize("minutes", [20, 60, 240])
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_plan_fits_its_budget(minutes, seeds):
    assert 0.3 * 60 * minutes < seconds(plan(minutes, seeds=seeds), seeds) + SPEEDS.trial < 60 * minutes


def test_fine_tuned_classifiers_are_in_the_budget():
    assert plan(60, weights=("imagenet",)).study == pytest.approx(plan(60).study / 2, abs=1)


def test_a_long_budget_is_the_preset():
    assert plan(10_000) == StageLengths(
        8000, 20000, 600, 600, 200, warmup={"autoencoder": 100, "diffusion": 200, "classifier": 30}
    )


def test_warm_up_is_no_longer_than_a_twentieth():
    short = plan(20)
    assert short.autoencoder < 2000
    assert f"autoencoder_stage.warmup_steps={short.autoencoder // 20}" in short.model_values()
    assert "diffusion_stage.warmup_steps=200" in plan(10_000).model_values()


def test_a_budget_that_is_too_short_says_so():
    with pytest.raises(InputError, match=r"--minutes 2: too short for diffusion, judge, study here, after"):
        plan(2)


def test_a_plan_is_kept_as_it_is():
    kept = json.loads(json.dumps(dataclasses.asdict(plan(60))))
    assert config_from_json(StageLengths, kept, "plan") == plan(60)
    with pytest.raises(InputError, match="plan: diffusion is missing"):
        config_from_json(StageLengths, {"autoencoder": 1}, "plan")


def test_the_speed_is_that_between_the_first_and_the_last_point(tmp_path: Path):
    curve = tmp_path / "curve.csv"
    curve.write_text("step,loss,seconds\n10,1,30.0\n20,1,32.0\n30,1,35.0\n")
    assert seconds_per_step(curve) == 0.25
    curve.write_text("step,loss,seconds\n10,1,30.0\n")
    with pytest.raises(DimvidaError, match="too short"):
        seconds_per_step(curve)
