"""How a batch is divided among processes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dimvida.diffusion.schedule import VPSchedule
from dimvida.models import AutoencoderConfig
from dimvida.models.autoencoder import build_autoencoder
from dimvida.models.score_network import ScoreNetwork
from dimvida.training.autoencoder import AutoencoderObjective
from dimvida.training.batches import Objective
from dimvida.training.diffusion import DiffusionObjective
from dimvida.training.ranks import Ranks, Share
from dimvida.training.stage_config import AutoencoderStageConfig, DiffusionStageConfig

CPU = torch.device("cpu")


def shares(batch: int, count: int) -> list[Share]:
    ranks = [Ranks() for _ in range(count)]
    for number, rank in enumerate(ranks):
        rank.rank, rank.count = number, count
    return [rank.share(batch) for rank in ranks]


@given(batch=st.integers(1, 40), count=st.integers(1, 50))
def test_every_row_counts_once_and_the_mean_of_means_is_the_mean(batch: int, count: int):
    values = torch.arange(batch, dtype=torch.float64).square()
    divided = shares(batch, count)
    counted = [row for share in divided if share.counted for row in range(*share.rows.indices(batch))]
    assert counted == list(range(batch)) and sum(share.counted for share in divided) == batch
    assert all(len(values[share.rows]) > 0 for share in divided)
    mean = sum(share.weight * values[share.rows].mean() for share in divided) / count
    assert float(mean) == pytest.approx(float(values.mean()))


def autoencoder_objective() -> Objective:
    config = AutoencoderStageConfig(augment="trivial-augment-wide", recolour=True, latent_noise=0.1)
    images = torch.randint(256, (9, 3, 16, 16), dtype=torch.uint8)
    network = build_autoencoder(AutoencoderConfig(image_size=16, latent_dim=8, base=8))
    return AutoencoderObjective(network, images, images, config, CPU, Ranks())


def diffusion_objective() -> Objective:
    latents = torch.randn(3, 9, 4, 8)
    network = ScoreNetwork(4, 8, width=16, time_dim=8, groups=2)
    return DiffusionObjective(network, latents, latents[0], DiffusionStageConfig(), VPSchedule(), CPU)


def partial_objective() -> Objective:
    """Objects of the diffusion that lack views."""
    latents = torch.randn(1, 9, 4, 8)
    network = ScoreNetwork(4, 8, width=16, time_dim=8, groups=2)
    present = torch.ones(1, 9, 4, dtype=torch.bool)
    present[0, [1, 5], 2] = False
    schedule = VPSchedule()
    return DiffusionObjective(network, latents, latents[0], DiffusionStageConfig(), schedule, CPU, present=present)


@pytest.mark.parametrize("make", [autoencoder_objective, diffusion_objective, partial_objective])
def test_what_a_row_gets_does_not_depend_on_the_number_of_processes(make):
    objective, indices = make(), torch.tensor([3, 1, 8, 5, 0])
    whole = objective.draw(indices, 7, 2, slice(0, 5))
    for count in (2, 3, 8):
        for share in shares(5, count):
            for name, part in objective.draw(indices, 7, 2, share.rows).items():
                assert torch.equal(part, whole[name][share.rows]), name
    other = objective.draw(indices, 7, 3, slice(0, 5))
    drawn = "noise_ids" if "noise_ids" in whole else "noise"
    assert not torch.equal(other[drawn], whole[drawn])


@torch.no_grad()
@pytest.mark.parametrize("make", [diffusion_objective, partial_objective])
def test_the_loss_of_a_batch_is_the_mean_over_the_shares(make):
    objective, indices = make(), torch.tensor([3, 1, 8, 5, 0])
    torch.nn.init.normal_(objective.network.output.weight)  # it begins with zeros
    losses = [
        float(objective.loss(share, **objective.draw(indices, 0, 0, share.rows)) * share.weight)
        for share in shares(5, 3)
    ]
    whole = objective.loss(Share(slice(0, 5)), **objective.draw(indices, 0, 0, slice(0, 5)))
    assert sum(losses) / 3 == pytest.approx(float(whole), rel=1e-5)
