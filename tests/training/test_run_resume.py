"""A run that was stopped goes on exactly, and with no other options than it may."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
import torch._dynamo
from helpers.networks import curve, no_progress, weights

from dimvida.errors import InputError
from dimvida.models import ScoreConfig
from dimvida.models.checkpoint import load_checkpoint
from dimvida.training.config import TrainConfig
from dimvida.training.data import TrainingData

from .conftest import run, with_stage


@pytest.mark.parametrize("stops", [[10, 20, 45], [61, 40], [60 + 7, 33, 33]])
def test_resumed_runs_equal_the_uninterrupted_one(
    finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData, stops: list[int]
):
    for number, stop in enumerate(stops):
        assert not run(tmp_path, fast_config, data, stop=stop, resume=number > 0)
        load_checkpoint(tmp_path)  # an interrupted run has a usable checkpoint
    assert run(tmp_path, fast_config, data, resume=True)
    for stage in ("autoencoder", "diffusion"):
        assert curve(tmp_path / f"{stage}.csv") == curve(finished / f"{stage}.csv")
    assert weights(tmp_path) == weights(finished)


def test_a_run_stopped_while_it_encodes_resumes_exactly(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    config = with_stage(fast_config, "autoencoder", steps=5)
    config = with_stage(config, "diffusion", steps=20, mirror=True, recolour=True)
    assert run(tmp_path / "whole", config, data)
    # 5 steps, then one batch of held-out objects and one of each of 12 variants.
    assert not run(tmp_path / "cut", config, data, stop=5 + 1)
    load_checkpoint(tmp_path / "cut")
    shown: list[tuple[str, int, int]] = []

    def watch(work: str, total: int, unit: str, done: int, later: float = 0.0):
        shown.append((work, total, done))
        return no_progress(work, total, unit, done)

    assert not run(tmp_path / "cut", config, data, stop=1 + 7, resume=True, watch=watch)
    assert not run(tmp_path / "cut", config, data, stop=4 + 9, resume=True, watch=watch)
    assert run(tmp_path / "cut", config, data, resume=True, watch=watch)
    objects, held_out = len(data.images), len(data.held_out)
    encodings = [entry[1:] for entry in shown if entry[0] == "encoding"]
    everything, people_count = held_out + 12 * objects, held_out + objects
    assert encodings == [
        (people_count, held_out),
        (people_count, (held_out + objects) * people_count // everything),
        (people_count, (held_out + 8 * objects) * people_count // everything),
    ]
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def test_the_diffusion_goes_on_without_the_images(
    finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData
):
    assert not run(tmp_path, fast_config, data, stop=60 + 7)
    blank = dataclasses.replace(data, images=torch.zeros_like(data.images))
    assert run(tmp_path, fast_config, blank, resume=True)
    assert weights(tmp_path) == weights(finished)


def test_trivial_augment_resumes_exactly(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    config = with_stage(fast_config, "autoencoder", augment="trivial-augment-wide", steps=15)
    assert run(tmp_path / "a", config, data, stage="autoencoder")
    assert not run(tmp_path / "b", config, data, stage="autoencoder", stop=7)
    assert run(tmp_path / "b", config, data, stage="autoencoder", resume=True)
    assert curve(tmp_path / "a" / "autoencoder.csv") == curve(tmp_path / "b" / "autoencoder.csv")


def test_a_longer_training_is_the_one_that_was_longer_from_the_beginning(
    tmp_path: Path, fast_config: TrainConfig, data: TrainingData
):
    """With a constant learning rate, bit for bit; also after an interruption in the steps that were added."""
    constant = with_stage(with_stage(fast_config, "autoencoder", lr_schedule="constant", steps=30), "diffusion",
                          lr_schedule="constant", steps=40)  # fmt: skip
    longer = with_stage(with_stage(constant, "autoencoder", steps=50), "diffusion", steps=70)
    assert run(tmp_path / "whole", longer, data)
    out = tmp_path / "longer"
    assert run(out, constant, data, stage="autoencoder")
    between = with_stage(constant, "autoencoder", steps=50)
    assert not run(out, between, data, stop=7, resume=True)
    assert run(out, between, data, resume=True)
    assert not run(out, longer, data, stop=13, resume=True)
    assert not run(out, longer, data, stop=0, resume=True)
    assert run(out, longer, data, resume=True)
    for stage in ("autoencoder", "diffusion"):
        assert curve(out / f"{stage}.csv") == curve(tmp_path / "whole" / f"{stage}.csv")
    assert weights(out) == weights(tmp_path / "whole")
    with pytest.raises(InputError, match="its diffusion has done 70 steps already; 69 are too few"):
        run(out, with_stage(longer, "diffusion", steps=69), data, resume=True)


def test_a_longer_cosine_is_warmed_up_to_from_where_the_shorter_one_ended(
    tmp_path: Path, fast_config: TrainConfig, data: TrainingData
):
    short = with_stage(fast_config, "autoencoder", lr_schedule="cosine", warmup_steps=8, steps=20, log_every=1)
    longer = with_stage(short, "autoencoder", steps=60)
    for out in (tmp_path / "whole", tmp_path / "cut"):
        assert run(out, short, data, stage="autoencoder")
    assert run(tmp_path / "whole", longer, data, stage="autoencoder", resume=True)
    assert not run(tmp_path / "cut", longer, data, stage="autoencoder", stop=5, resume=True)
    assert run(tmp_path / "cut", longer, data, stage="autoencoder", resume=True)
    points = curve(tmp_path / "whole" / "autoencoder.csv")
    assert points == curve(tmp_path / "cut" / "autoencoder.csv")
    rates = [float(point["lr"]) for point in points]
    for step, warmup in ((20, 1 / 8), (27, 1)):
        cosine = 0.5 * (1 + math.cos(math.pi * step / 60))
        assert rates[step] == pytest.approx(longer.autoencoder_stage.lr * warmup * cosine, rel=1e-4)


def test_other_options_or_data_are_refused_by_name(finished: Path, fast_config: TrainConfig, data: TrainingData):
    other = with_stage(dataclasses.replace(fast_config, seed=1), "diffusion", lr=0.5)
    with pytest.raises(
        InputError, match=r"another configuration \(seed: 0 -> 1, diffusion_stage\.lr: 0\.002 -> 0\.5\)"
    ):
        run(finished, other, data, resume=True)
    with pytest.raises(InputError, match="on other data"):
        run(finished, fast_config, dataclasses.replace(data, digest="other"), resume=True)


@pytest.mark.parametrize("stage", ["autoencoder", "all"])
def test_options_of_a_stage_to_come_belong_to_the_run(
    tmp_path: Path, fast_config: TrainConfig, data: TrainingData, stage: str
):
    assert not run(tmp_path, fast_config, data, stop=3)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for changed in (
        with_stage(fast_config, "diffusion", lr=0.5),
        dataclasses.replace(fast_config, score=ScoreConfig()),
    ):
        with pytest.raises(InputError, match=r"another configuration \((diffusion_stage\.lr|score\.width): "):
            run(tmp_path, changed, data, stage=stage, resume=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    # How often it writes may be told later.
    often = with_stage(fast_config, "diffusion", log_every=7, save_every=9, sheet_every=11)
    assert not run(tmp_path, often, data, stop=1, stage=stage, resume=True)
    with pytest.raises(InputError, match=r"another configuration \(autoencoder_stage\.log_every: 10 -> 7\)"):
        run(tmp_path, with_stage(often, "autoencoder", log_every=7), data, resume=True)


def test_a_stage_begun_later_may_have_options_of_its_own(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    assert run(tmp_path, with_stage(fast_config, "autoencoder", steps=3), data, stage="autoencoder")
    other = with_stage(with_stage(fast_config, "autoencoder", steps=3), "diffusion", lr=0.5, steps=2)
    assert run(tmp_path, other, data, stage="diffusion")
    with pytest.raises(InputError, match=r"autoencoder_stage\.steps: 3 -> 4\)"):
        run(tmp_path, with_stage(other, "autoencoder", steps=4), data, resume=True)
