"""How a budget of time becomes lengths of stages, and what the stages' command lines are."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimvida.errors import DimvidaError, InputError
from dimvida.reproduction.plan import Plan, Speeds, make_plan, plan_from_dict
from dimvida.reproduction.settings import Settings
from dimvida.reproduction.stages import StageMaker
from dimvida.reproduction.trial import seconds_per_step

SPEEDS = Speeds(
    autoencoder=0.5,
    diffusion=0.1,
    classifiers={"resnet18": 0.2, "mobilenet-v3-large": 0.1},
    evaluation=1.0,
    trial=60.0,
)
OBJECTS = {"d": 600, "c": 200, "e": 200}


def plan(minutes: float, speeds: Speeds = SPEEDS, **options) -> Plan:
    return make_plan(Settings(Path("d"), preset="small", budget=minutes, **options), speeds, OBJECTS, views=4)


def seconds(plan: Plan, seeds: int, tables: int = 1) -> float:
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
    assert plan(10_000) == Plan(
        6000, 30000, 600, 600, 200, warmup={"autoencoder": 100, "diffusion": 200, "classifier": 30}
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
    assert plan_from_dict(plan(60).to_dict()) == plan(60)


def test_the_speed_is_that_between_the_first_and_the_last_point(tmp_path: Path):
    curve = tmp_path / "curve.csv"
    curve.write_text("step,loss,seconds\n10,1,30.0\n20,1,32.0\n30,1,35.0\n")
    assert seconds_per_step(curve) == 0.25
    curve.write_text("step,loss,seconds\n10,1,30.0\n")
    with pytest.raises(DimvidaError, match="too short"):
        seconds_per_step(curve)


def lines(**options) -> dict[str, str]:
    settings = Settings(Path("d.zip"), **options)
    return {stage.name: " ".join(stage.command) for stage in StageMaker(settings, Path("out")).all()}


def test_the_papers_values_are_the_default():
    made = lines()
    assert list(made) == ["partition", "model", "classifier for coherence", "evaluation", "classification", "report"]
    assert "--preset paper" in made["model"] and "--preset paper" in made["classification"]
    assert "--classifiers resnet18,mobilenet-v3-large --seeds 3" in made["classification"]
    assert "--budget both" in made["classification"]
    for name in ("model", "classifier for coherence", "evaluation", "classification"):
        assert "--partition out/partition.json" in made[name]
    for name in ("evaluation", "classification"):
        assert "--checkpoint out/model" in made[name]


def test_options_reach_the_stages_that_they_are_for():
    made = lines(seed=5, values=("score.width=64",), weights=("resnet18=r.pth",), lpips_weights=Path("l.pth"))
    assert "--seed 5" in made["partition"] and "--seed 5" in made["evaluation"]
    for name in ("model", "classifier for coherence", "classification"):
        assert made[name].index("--set seed=5") < made[name].index("--set score.width=64")
    assert "--weights r.pth" in made["classifier for coherence"]
    assert "--weights resnet18=r.pth" in made["classification"]
    assert "--lpips-weights l.pth" in made["evaluation"] and "--inception-weights" not in made["evaluation"]


def test_first_weights_are_those_of_the_model_alone():
    made = lines(init="bundled")
    assert [name for name, line in made.items() if "--init bundled" in line] == ["model"]
    assert not any("--init" in line for line in lines().values())


@pytest.mark.parametrize(
    ("weights", "judge"),
    [
        (("imagenet",), "--weights imagenet"),
        (("resnet18=imagenet",), "--weights imagenet"),
        (("mobilenet-v3-large=m.pth",), ""),
    ],
)
def test_the_judge_starts_from_weights_of_its_own_kind(weights, judge):
    line = lines(weights=weights)["classifier for coherence"]
    assert judge in line and ("--weights" in line) == bool(judge)
