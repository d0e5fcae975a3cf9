"""The score network's objective."""

from __future__ import annotations

import torch
import torch._dynamo

from dimvida.diffusion.schedule import VPSchedule
from dimvida.models import ScoreNetwork
from dimvida.training.diffusion import DiffusionObjective
from dimvida.training.ranks import Share
from dimvida.training.stage_config import DiffusionStageConfig

CPU = torch.device("cpu")


def test_every_variant_of_an_object_is_trained_on():
    # Variant k of an object holds the number k everywhere; the network sees which ones are drawn.
    latents = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 5, 2, 3)
    network = ScoreNetwork(2, 3, width=8, time_dim=4, groups=2)
    seen = set()
    network.register_forward_pre_hook(lambda module, inputs: seen.update(inputs[0][inputs[1] == 0].flatten().tolist()))
    objective = DiffusionObjective(network, latents, latents[0], DiffusionStageConfig(drop=0.0), VPSchedule(), CPU)
    assert objective.items == 5
    for step in range(30):
        objective.loss(Share(slice(0, 5)), **objective.draw(torch.arange(5), 0, step, slice(0, 5)))
    assert seen == {0.0, 1.0, 2.0, 3.0}


def test_weights_of_times_are_those_of_training_not_of_validation():
    latents = torch.randn(1, 64, 2, 3)
    network = ScoreNetwork(2, 3, width=8, time_dim=4, groups=2)  # which returns zeros
    losses = {}
    for time_weight in ("none", "clamped"):
        config = DiffusionStageConfig(time_weight=time_weight)
        objective = DiffusionObjective(network, latents, latents[0], config, VPSchedule(), CPU)
        drawn = objective.draw(torch.arange(64), 0, 0, slice(0, 64))
        losses[time_weight] = objective.loss(Share(slice(0, 64)), **drawn).item(), objective.validate(network)
    assert losses["clamped"][0] < 0.95 * losses["none"][0]
    assert losses["clamped"][1] == losses["none"][1]
