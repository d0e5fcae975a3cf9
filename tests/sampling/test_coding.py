"""Parts that fit into memory, and numbers that are not finite."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dimvida
from dimvida.errors import NotFinite
from dimvida.models.autoencoder import Autoencoder, build_autoencoder
from dimvida.models.checkpoint import load_checkpoint
from dimvida.models.config import AutoencoderConfig
from dimvida.sampling import coding
from dimvida.sampling.multiview import MultiViewModel

CUDA = torch.device("cuda")


def on_meta(**sizes) -> Autoencoder:
    with torch.device("meta"):
        return build_autoencoder(AutoencoderConfig(**sizes))


@pytest.mark.parametrize("kind", ["pooling", "patch"])
@pytest.mark.parametrize(("size", "base", "channels"), [(16, 8, 3), (32, 64, 1), (64, 16, 3), (128, 8, 3)])
def test_the_largest_activation_is_that_of_a_pass(kind: str, size: int, base: int, channels: int):
    autoencoder = on_meta(kind=kind, image_size=size, base=base, channels=channels, latent_dim=8)
    seen = []
    for module in autoencoder.modules():
        if not list(module.children()):
            module.register_forward_hook(
                lambda module, inputs, output: seen.append(max(inputs[0].numel(), output.numel()))
            )
    autoencoder(torch.empty(1, channels, size, size, device="meta"))
    assert autoencoder.largest_activation == max(seen)


def test_parts_on_a_gpu_and_on_a_cpu():
    paper = on_meta(kind="pooling", image_size=64, base=64, latent_dim=8)
    assert coding.part_size(paper, CUDA) == 2048
    assert coding.part_size(paper, torch.device("cpu")) == 32
    for size in (128, 256, 512, 1024):
        larger = on_meta(kind="pooling", image_size=size, base=64, latent_dim=8)
        part = coding.part_size(larger, CUDA)
        assert part == 2048 // (size // 64) ** 2
        assert part * larger.largest_activation < 2**31
    huge = on_meta(kind="pooling", image_size=4096, base=64, latent_dim=8)
    assert coding.part_size(huge, CUDA) == 1


def test_any_part_gives_the_same(tiny_checkpoint: Path, monkeypatch):
    model = dimvida.load(tiny_checkpoint)
    images = torch.randint(0, 256, (7, 3, 16, 16), dtype=torch.uint8)
    latents = model.encode(images)
    decoded = model.decode(latents)
    sizes = []
    model.autoencoder.encoder.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    model.autoencoder.decoder.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setattr(coding, "LARGEST_ACTIVATION", 3 * model.autoencoder.largest_activation)
    torch.testing.assert_close(model.encode(images), latents)
    torch.testing.assert_close(model.decode(latents), decoded)
    assert sizes == [3, 3, 1, 3, 3, 1]


@pytest.fixture
def overflowing(tiny_checkpoint: Path) -> MultiViewModel:
    """Finite weights, whose decoder overflows on every latent but zeros."""
    checkpoint = load_checkpoint(tiny_checkpoint)
    with torch.no_grad():
        checkpoint.autoencoder.decoder[0].weight.fill_(3e38)
        checkpoint.autoencoder.decoder[0].bias.zero_()
    return MultiViewModel(checkpoint)


def test_images_that_are_not_finite_are_an_error_with_their_rows(overflowing: MultiViewModel):
    latents = torch.zeros(5, 8)
    assert overflowing.decode(latents).isfinite().all()
    latents[[1, 3]] = 100.0
    with pytest.raises(NotFinite, match="images of rows 1, 3") as caught:
        overflowing.decode(latents)
    assert caught.value.what == "images" and caught.value.rows == (1, 3)
    for leading in ((5, 1), (5, 1, 1)):
        with pytest.raises(NotFinite) as caught:
            overflowing.decode(latents.view(*leading, 8))
        assert caught.value.rows == (1, 3)
    with pytest.raises(NotFinite) as caught:
        overflowing.decode(latents[1])
    assert caught.value.rows == (0,)


def test_latents_that_are_not_finite_are_an_error_with_their_rows(tiny_checkpoint: Path):
    model = dimvida.load(tiny_checkpoint)
    images = torch.zeros(4, 3, 16, 16)
    for value in (float("nan"), float("inf"), 3e38):
        images[2] = value
        with pytest.raises(NotFinite) as caught:
            model.encode(images)
        assert caught.value.what == "latents" and caught.value.rows == (2,)


@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_generate_raises_in_place_of_black_pictures(overflowing: MultiViewModel, backend: str):
    views, known = torch.zeros(3, 4, 3, 16, 16, dtype=torch.uint8), torch.ones(3, 4, dtype=torch.bool)
    known[1, 2] = False
    with pytest.raises(NotFinite) as caught:
        overflowing.generate(views, known, backend=backend)
    assert caught.value.what == "images" and caught.value.rows == (1,)
    known[1] = True
    assert torch.equal(overflowing.generate(views, known, backend=backend), views)


@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_an_encoder_that_overflows_is_noticed_too(tiny_checkpoint: Path, backend: str):
    model = dimvida.load(tiny_checkpoint)
    with torch.no_grad():
        model.autoencoder.encoder[-1].bias.fill_(float("inf"))
    views, known = torch.zeros(3, 4, 3, 16, 16, dtype=torch.uint8), torch.zeros(3, 4, dtype=torch.bool)
    known[2, 0] = True
    with pytest.raises(NotFinite) as caught:
        model.generate(views, known, backend=backend)
    assert caught.value.rows == (2,)
