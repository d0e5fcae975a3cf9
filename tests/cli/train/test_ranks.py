"""``dimvida train`` in several processes, started by torchrun or by a cluster's own launcher."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from helpers.commands import PATIENCE, Result, command, free_port, wait_until
from helpers.networks import FAST, curve, options

from dimvida.models.checkpoint import load_checkpoint

from ..conftest import torchrun
from .conftest import forked_ranks

# What could depend on how a batch is divided: sizes that do not divide, a rest of an epoch smaller than the number of
# processes (152 images and 38 objects in batches of 15 and 37), and everything that is drawn.
UNEVEN = (
    *FAST,
    "autoencoder_stage.steps=25",
    "autoencoder_stage.batch=15",
    "autoencoder_stage.augment=trivial-augment-wide",
    "autoencoder_stage.recolour=true",
    "autoencoder_stage.latent_noise=0.3",
    "autoencoder_stage.grad_clip=5.0",
    "autoencoder_stage.log_every=1",
    "diffusion_stage.steps=24",
    "diffusion_stage.batch=37",
    "diffusion_stage.log_every=1",
    "diffusion_stage.mirror=true",
)


# What the autoencoder's products are in, and how far apart sums in another order may leave a loss. In bfloat16 every
# product and every process's own gradient is rounded, each by at most half of its epsilon of 2^-7; a loss, a mean of
# many such values, is no further off than one of them.
PRECISIONS = {"off": 1e-4, "bfloat16": torch.finfo(torch.bfloat16).eps / 2}


def arguments(data: Path, out: Path, *more: str, autocast: str = "off") -> list[str]:
    settings = options([*UNEVEN, f"autoencoder_stage.autocast={autocast}"])
    return ["train", "--data", str(data), "--out", str(out), "--preset", "tiny", *settings, *more]


def losses(out: Path, stage: str) -> list[float]:
    return [float(row[name]) for row in curve(out / f"{stage}.csv") for name in ("loss", "validation_loss")]


def finish(process: subprocess.Popen[str]) -> Result:
    out, err = process.communicate(timeout=PATIENCE)
    return Result(process.returncode, out, err)


def all_errors(results: list[Result]) -> list[str]:
    return [line for result in results for line in result.errors]


@pytest.fixture(scope="module")
def trained_alone(tmp_path_factory: pytest.TempPathFactory, boxes: Path, one_thread: None) -> Callable[[str], Path]:
    """The run of one process with products in a type; nobody may change its folder."""

    @cache
    def run(autocast: str) -> Path:
        out = tmp_path_factory.mktemp("runs") / autocast
        assert command(*arguments(boxes, out, autocast=autocast)).code == 0
        return out

    return run


@pytest.fixture(scope="module")
def alone(trained_alone: Callable[[str], Path]) -> Path:
    return trained_alone("off")


@pytest.mark.slow
@pytest.mark.parametrize("autocast", list(PRECISIONS))
def test_two_processes_give_the_losses_of_one(
    trained_alone: Callable[[str], Path], boxes: Path, tmp_path: Path, autocast: str
):
    """Two agents with a process each, as on two machines."""
    alone = trained_alone(autocast)
    place = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", "together"]
    launch = [*torchrun(1, *arguments(boxes, tmp_path / "two", autocast=autocast))]
    launch[launch.index("--standalone") : launch.index("--standalone") + 1] = ["--nnodes", "2", *place]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    agents = [finish(agent) for agent in [subprocess.Popen(launch, **pipes) for _ in range(2)]]
    assert [agent.code for agent in agents] == [0, 0], agents
    said = [line for agent in agents for line in agent.out.splitlines()]
    assert said == [f"checkpoint: {tmp_path / 'two' / 'checkpoint'}"]
    progress = [line for agent in agents for line in agent.err.splitlines() if "24/24 steps" in line]
    last = float(curve(tmp_path / "two" / "diffusion.csv")[-1]["loss"])  # of a point for each step
    assert len(progress) == 1 and float(progress[0].rpartition(", loss ")[2]) == pytest.approx(last, rel=1e-3)
    assert "Grad strides" not in "".join(agent.err for agent in agents)  # gradients are averaged where they are
    for stage in ("autoencoder", "diffusion"):
        # The diffusion is always in float32: what rounding leaves of the autoencoder's weights is its data.
        if stage == "autoencoder" or autocast == "off":
            assert losses(tmp_path / "two", stage) == pytest.approx(losses(alone, stage), rel=PRECISIONS[autocast])
        assert len(losses(tmp_path / "two", stage)) == len(losses(alone, stage))
        assert len(losses(alone, stage)) in (2 * 25, 2 * 24)
    load_checkpoint(tmp_path / "two")


@pytest.mark.slow
def test_the_type_of_products_is_the_one_asked_for(trained_alone: Callable[[str], Path]):
    one, other = (losses(trained_alone(autocast), "autoencoder") for autocast in PRECISIONS)
    assert one != other and one == pytest.approx(other, rel=0.05)


@pytest.mark.slow
def test_one_asked_to_stop_stops_all_and_one_goes_on(alone: Path, boxes: Path, tmp_path: Path):
    """SIGTERM reaches one rank only; a process alone resumes what two began."""
    out = tmp_path / "run"
    ranks = forked_ranks(2, arguments(boxes, out), tmp_path / "logs")
    wait_until((out / "autoencoder.csv").exists, *ranks)
    ranks[1].send(signal.SIGTERM)
    results = [rank.finish() for rank in ranks]
    assert [result.code for result in results] == [0, 0], results
    assert results[0].out.startswith("stopped; continue with --resume") and not results[1].out
    reached = len(curve(out / "autoencoder.csv"))
    assert 0 < reached < 25
    assert command(*arguments(boxes, out, "--resume")).code == 0
    for stage in ("autoencoder", "diffusion"):
        assert losses(out, stage) == pytest.approx(losses(alone, stage), rel=PRECISIONS["off"])


@pytest.mark.slow
def test_what_rank_0_refuses_ends_all_with_one_line(alone: Path, boxes: Path, tmp_path: Path):
    before = {path: path.read_bytes() for path in alone.rglob("*") if path.is_file()}
    results = [rank.finish() for rank in forked_ranks(2, arguments(boxes, alone), tmp_path)]
    assert [result.code for result in results] == [2, 2]
    (line,) = all_errors(results)
    assert "already holds its autoencoder stage" in line
    assert {path: path.read_bytes() for path in alone.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_killed_rank_ends_all_and_the_state_stays(boxes: Path, tmp_path: Path):
    out = tmp_path / "run"
    ranks = forked_ranks(2, arguments(boxes, out, "--set", "autoencoder_stage.save_every=1"), tmp_path / "logs")
    wait_until((out / "autoencoder.state").exists, *ranks)
    ranks[1].send(signal.SIGKILL)
    results = [rank.finish() for rank in ranks]
    assert [result.code for result in results] == [1, -signal.SIGKILL], results
    (line,) = all_errors(results)
    assert "another process of this training is gone" in line and "--resume" in line
    assert "autoencoder.state" in os.listdir(out)


@pytest.mark.slow
def test_a_divergence_is_told_once(boxes: Path, tmp_path: Path):
    out = tmp_path / "run"
    ranks = forked_ranks(2, arguments(boxes, out, "--set", "autoencoder_stage.lr=1e39"), tmp_path / "logs")
    results = [rank.finish() for rank in ranks]
    assert [result.code for result in results] == [1, 1], results
    (line,) = all_errors(results)
    assert "autoencoder: the " in line and "autoencoder_stage.lr below 1e+39" in line
    assert not (out / "autoencoder.state").exists()
