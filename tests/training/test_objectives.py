"""The objectives against hand-computed cases."""

from __future__ import annotations

import pytest
import torch

from dimvida.diffusion.schedule import VPSchedule
from dimvida.models import ScoreNetwork
from dimvida.models.autoencoder import build_autoencoder
from dimvida.models.config import AutoencoderConfig
from dimvida.training import autoencoder
from dimvida.training.autoencoder import AutoencoderObjective, channel_orders, recoloured
from dimvida.training.diffusion import DiffusionObjective
from dimvida.training.ranks import Ranks, Share
from dimvida.training.seeds import derived_generator
from dimvida.training.stage_config import AutoencoderStageConfig, DiffusionStageConfig

CPU = torch.device("cpu")


def test_recolouring_permutes_the_channels_of_each_image():
    images = torch.tensor([10, 20, 30]).view(1, 3, 1, 1).expand(600, 3, 2, 2)
    out = recoloured(images, channel_orders(600, 3, derived_generator(0, "test")))
    orders = [tuple(image[:, 0, 0].tolist()) for image in out]
    assert all(sorted(order) == [10, 20, 30] for order in orders)
    counts = {order: orders.count(order) for order in set(orders)}
    assert len(counts) == 6 and min(counts.values()) > 60
    assert torch.equal(out, recoloured(images, channel_orders(600, 3, derived_generator(0, "test"))))


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


def test_autocast_computes_in_bfloat16_and_keeps_weights_and_losses_in_float32():
    network = build_autoencoder(AutoencoderConfig(kind="patch", image_size=16, latent_dim=8, base=8))
    images = torch.randint(256, (6, 3, 16, 16), dtype=torch.uint8)
    seen, losses = set(), {}
    network.encoder[1].register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    for autocast in ("off", "bfloat16"):
        config = AutoencoderStageConfig(autocast=autocast, latent_noise=0.1)
        objective = AutoencoderObjective(network, images, images, config, CPU, Ranks())
        loss = objective.loss(Share(slice(0, 6)), **objective.draw(torch.arange(6), 0, 0, slice(0, 6)))
        loss.backward()
        losses[autocast] = float(loss.detach())
        assert loss.dtype == torch.float32
    assert seen == {torch.float32, torch.bfloat16}
    assert losses["bfloat16"] != losses["off"] and losses["bfloat16"] == pytest.approx(losses["off"], rel=0.02)
    assert all(weight.dtype == weight.grad.dtype == torch.float32 for weight in network.parameters())


@pytest.mark.parametrize("native", [torch.float32, torch.bfloat16])
def test_by_default_products_are_in_what_the_hardware_multiplies(native: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(autoencoder, "default_dtype", lambda device: native)  # of a machine that this one may not be
    network = build_autoencoder(AutoencoderConfig(kind="patch", image_size=16, latent_dim=8, base=8))
    images = torch.randint(256, (6, 3, 16, 16), dtype=torch.uint8)
    seen = set()
    network.encoder[1].register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    objective = AutoencoderObjective(network, images, images, AutoencoderStageConfig(), CPU, Ranks())
    loss = objective.loss(Share(slice(0, 6)), **objective.draw(torch.arange(6), 0, 0, slice(0, 6)))
    loss.backward()
    assert seen == {native} and loss.dtype == torch.float32
    objective.validate(network)
    assert seen == {native, torch.float32}  # validation is always in float32
