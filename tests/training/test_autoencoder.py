"""The autoencoder's objective against hand-computed cases."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch._dynamo

from dimvida.models import AutoencoderConfig
from dimvida.models.autoencoder import build_autoencoder
from dimvida.training import batches
from dimvida.training.autoencoder import (
    AutoencoderObjective,
    channel_orders,
    recoloured,
    reconstruction_loss,
    windowed_ssim,
)
from dimvida.training.ranks import Ranks, Share
from dimvida.training.seeds import derived_generator
from dimvida.training.stage_config import AutoencoderStageConfig

CPU = torch.device("cpu")


def test_recolouring_permutes_the_channels_of_each_image():
    images = torch.tensor([10, 20, 30]).view(1, 3, 1, 1).expand(600, 3, 2, 2)
    out = recoloured(images, channel_orders(600, 3, derived_generator(0, "test")))
    orders = [tuple(image[:, 0, 0].tolist()) for image in out]
    assert all(sorted(order) == [10, 20, 30] for order in orders)
    counts = {order: orders.count(order) for order in set(orders)}
    assert len(counts) == 6 and min(counts.values()) > 60
    assert torch.equal(out, recoloured(images, channel_orders(600, 3, derived_generator(0, "test"))))


def test_autocast_computes_in_bfloat16_and_keeps_weights_and_losses_in_float32():
    network = build_autoencoder(AutoencoderConfig(image_size=16, latent_dim=8, base=8))
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
    monkeypatch.setattr(batches, "default_dtype", lambda device: native)  # of a machine that this one may not be
    network = build_autoencoder(AutoencoderConfig(image_size=16, latent_dim=8, base=8))
    images = torch.randint(256, (6, 3, 16, 16), dtype=torch.uint8)
    seen = set()
    network.encoder[1].register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    objective = AutoencoderObjective(network, images, images, AutoencoderStageConfig(), CPU, Ranks())
    loss = objective.loss(Share(slice(0, 6)), **objective.draw(torch.arange(6), 0, 0, slice(0, 6)))
    loss.backward()
    assert seen == {native} and loss.dtype == torch.float32
    objective.validate(network)
    assert seen == {native, torch.float32}  # validation is always in float32


def test_likelihoods_by_hand():
    # One image of one pixel, error (0.3, 0, -0.15) per channel.
    target = torch.zeros(1, 3, 1, 1)
    output = torch.tensor([0.3, 0.0, -0.15]).view(1, 3, 1, 1)
    laplace = AutoencoderStageConfig(scale=0.75)
    assert float(reconstruction_loss(output, target, laplace)) == pytest.approx(0.45 / 0.75)
    normal = dataclasses.replace(laplace, likelihood="normal")
    squares = (0.3**2 + 0.15**2) / 0.75**2 / 2
    assert float(reconstruction_loss(output, target, normal)) == pytest.approx(squares)
    # Without its mean of 0.05 the error is (0.25, -0.05, -0.2).
    coloured = dataclasses.replace(normal, chroma_weight=2.0)
    chroma = (0.25**2 + 0.05**2 + 0.2**2) / 0.75**2 / 2
    assert float(reconstruction_loss(output, target, coloured)) == pytest.approx(squares + 2 * chroma)


def test_the_loss_is_a_mean_over_images():
    config = AutoencoderStageConfig()
    output, target = torch.rand(6, 3, 4, 4), torch.rand(6, 3, 4, 4)
    halves = [reconstruction_loss(output[part], target[part], config) for part in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(reconstruction_loss(output, target, config), sum(halves) / 2)


def test_ssim_of_one_window_by_hand():
    # Halves of 0.2 and 0.6 against halves of 0.3 and 0.5: means 0.4, variances 0.04 and 0.01, covariance 0.02.
    x = torch.full((1, 1, 8, 8), 0.2)
    y = torch.full((1, 1, 8, 8), 0.3)
    x[..., 4:] = 0.6
    y[..., 4:] = 0.5
    expected = (0.32 + 1e-4) / (0.32 + 1e-4) * (2 * 0.02 + 9e-4) / (0.05 + 9e-4)
    torch.testing.assert_close(windowed_ssim(x, y), torch.tensor([expected]))
    torch.testing.assert_close(windowed_ssim(x, x), torch.ones(1))


def test_ssim_is_of_each_image_and_of_windows_inside_it():
    images = torch.rand(3, 3, 12, 16)
    others = images.clone()
    others[1, :, :4, :4] = 1 - others[1, :, :4, :4]
    scores = windowed_ssim(images, others)
    assert scores.shape == (3,)
    torch.testing.assert_close(scores[[0, 2]], torch.ones(2))
    assert 0 < float(scores[1]) < 0.99
    # Only one of 2 x 3 windows has the changed corner.
    corner = windowed_ssim(images[1:2, :, :8, :8], others[1:2, :, :8, :8])
    torch.testing.assert_close(scores[1:2], (corner + 5) / 6)
    assert windowed_ssim(images[..., :5, :6], images[..., :5, :6]).shape == (3,)


def test_the_ssim_term_is_weighed_and_has_gradients():
    plain = AutoencoderStageConfig(likelihood="normal")
    config = dataclasses.replace(plain, ssim_weight=50.0)
    output, target = torch.rand(4, 3, 8, 8, requires_grad=True), torch.rand(4, 3, 8, 8)
    difference = reconstruction_loss(output, target, config) - reconstruction_loss(output, target, plain)
    torch.testing.assert_close(difference, 50 * (1 - windowed_ssim(output, target)).mean())
    (gradient,) = torch.autograd.grad(difference, output)
    assert torch.isfinite(gradient).all() and float(gradient.abs().sum()) > 0
