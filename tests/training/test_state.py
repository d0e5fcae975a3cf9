"""What is kept on disk to go on from: the same when it is read again, and nothing else ever."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch._dynamo
from helpers.networks import curve, weights

from dimvida.errors import InputError
from dimvida.models.autoencoder import build_autoencoder
from dimvida.training.autoencoder import (
    AutoencoderObjective,
)
from dimvida.training.config import TrainConfig
from dimvida.training.data import TrainingData
from dimvida.training.loop import LossModule, optimise
from dimvida.training.ranks import Ranks, Share
from dimvida.training.state import TrainingState, average_decay, load_cached_tensor, load_state, save_cached_tensor

from .conftest import run, with_stage


def write_unhashed(path: Path, state: object) -> None:
    """A state as it was saved before there were hashes."""
    torch.save(state, path)


def read_state(path: Path) -> dict:
    with open(path, "rb") as file:
        file.readline()  # the hash
        return torch.load(io.BytesIO(file.read()), weights_only=True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path, state: path.write_bytes(path.read_bytes()[:1000]),
        lambda path, state: path.write_bytes(path.read_bytes()[:30]),
        lambda path, state: path.write_bytes(b""),
        lambda path, state: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path, state: write_unhashed(path, {"weights": torch.zeros(2)}),
        lambda path, state: write_unhashed(path, [1, 2]),
        lambda path, state: write_unhashed(path, torch.zeros(2)),
        lambda path, state: write_unhashed(path, {name: state[name] for name in ("config_digest", "step", "network")}),
        lambda path, state: write_unhashed(path, {**state, "network": {}}),
        lambda path, state: write_unhashed(path, {**state, "average": None}),
        lambda path, state: write_unhashed(path, {**state, "curve": [[1, 2]]}),
    ],
)
def test_a_file_that_is_no_state_is_refused_in_one_line(
    finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData, damage: Callable[[Path, dict], object]
):
    path = tmp_path / "autoencoder.state"
    path.write_bytes((finished / "autoencoder.state").read_bytes())
    damage(path, read_state(path))
    with pytest.raises(InputError, match=r"autoencoder\.state: not a training state \(.+\)") as caught:
        run(tmp_path, fast_config, data, resume=True)
    assert "\n" not in str(caught.value)


def test_every_flipped_bit_of_a_state_is_refused(
    finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData
):
    content = (finished / "autoencoder.state").read_bytes()
    digest = read_state(finished / "autoencoder.state")["config_digest"]
    path = tmp_path / "autoencoder.state"
    # In the header, in its hash, and anywhere else.
    places = [0, 1, 40, content.index(b"\n"), len(content) - 1, *random.Random(0).sample(range(len(content)), 60)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"autoencoder\.state: not a training state \(damaged: .+\)"):
            load_state(path, [digest])
    path.write_bytes(content)
    assert load_state(path, [digest])["step"] == 60
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text("{}")
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match=f"; give another --out to start over, and --init {tmp_path} to start from "):
        run(tmp_path, fast_config, data, resume=True)


def test_a_state_saved_before_there_were_hashes_is_continued(
    finished: Path, tmp_path: Path, fast_config: TrainConfig, data: TrainingData
):
    assert not run(tmp_path, fast_config, data, stop=60 + 60)
    for name in ("autoencoder", "diffusion"):
        write_unhashed(tmp_path / f"{name}.state", read_state(tmp_path / f"{name}.state"))
    assert run(tmp_path, fast_config, data, resume=True)
    assert weights(tmp_path) == weights(finished)


@pytest.mark.parametrize(
    ("step", "decay"), [(0, 0.1), (1, 2 / 11), (9, 10 / 19), (890, 891 / 900), (891, 0.99), (10**9, 0.99)]
)
def test_the_average_forgets_its_beginning(step: int, decay: float):
    """The decay grows as that of diffusers and timm: (1 + step) / (10 + step), up to the highest."""
    assert average_decay(0.99, step) == pytest.approx(decay, rel=1e-12)


def test_averages_are_those_of_the_growing_decay(data: TrainingData, fast_config: TrainConfig, tmp_path: Path):
    config = with_stage(fast_config, "autoencoder", ema=0.5, steps=12).autoencoder_stage
    objective = AutoencoderObjective(
        build_autoencoder(fast_config.autoencoder),
        data.images.flatten(0, 1), data.held_out.flatten(0, 1), config, torch.device("cpu"), Ranks(),
    )  # fmt: skip
    stage = TrainingState(objective, config, 0, tmp_path / "autoencoder.state", "")
    weight = next(objective.network.parameters())
    expected = None
    share = Share(slice(0, 16))
    for step in range(12):
        optimise(stage, LossModule(objective), share, objective.draw(torch.arange(16), 0, step, slice(0, 16)))
        decay = min(0.5, (1 + step) / (10 + step))
        now = weight.detach().clone()
        expected = now if expected is None else decay * expected + (1 - decay) * now
        torch.testing.assert_close(next(stage.averaged_network.parameters()).detach(), expected)
    assert not torch.equal(expected, now)


def test_averaging_does_not_spoil_a_short_training(tmp_path: Path, fast_config: TrainConfig, data: TrainingData):
    """However high the decay is, the average of 40 steps is far from the random weights that they began with."""
    figures = {}
    for ema in (0.0, 0.9999):
        config = with_stage(fast_config, "autoencoder", steps=40, ema=ema)
        assert run(tmp_path / str(ema), config, data, stage="autoencoder")
        figures[ema] = [float(row["validation_loss"]) for row in curve(tmp_path / str(ema) / "autoencoder.csv")]
    learned = figures[0.0][0] - figures[0.0][-1]
    assert learned > 0.1 * figures[0.0][0]
    assert figures[0.9999][-1] < figures[0.0][-1] + 0.1 * learned
    assert figures[0.9999] == sorted(figures[0.9999], reverse=True)  # a longer training is a better one


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bfloat16])
def test_what_was_kept_is_read_again(tmp_path: Path, dtype: torch.dtype):
    tensor = torch.arange(24).view(4, 6).to(dtype)[:, ::2]
    save_cached_tensor(tmp_path / "t", "rows", tensor, "mine")
    read = load_cached_tensor(tmp_path / "t", "rows", "mine")
    assert read is not None and read.dtype == dtype and torch.equal(read, tensor)
    assert load_cached_tensor(tmp_path / "t", "rows", "other") is None
    assert load_cached_tensor(tmp_path / "t", "columns", "mine") is None
    assert load_cached_tensor(tmp_path / "none", "rows", "mine") is None


def test_no_flipped_bit_and_no_cut_is_taken_for_it(tmp_path: Path):
    path, tensor = tmp_path / "t", torch.rand(3, 2)
    save_cached_tensor(path, "rows", tensor, "mine")
    content = path.read_bytes()
    damaged = [content[:place] for place in range(0, len(content), 7)]
    damaged += [
        content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
        for place in range(len(content))
    ]
    for other in damaged:
        path.write_bytes(other)
        read = load_cached_tensor(path, "rows", "mine")
        assert read is None or torch.equal(read, tensor)  # a blank of the header may be another one
