"""Images on their way in and out: views by mask or by name, parts that fit into memory, numbers that are not finite."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import dimvida
from dimvida.errors import DimvidaError, InputError, NotFinite
from dimvida.models import AutoencoderConfig
from dimvida.models.autoencoder import Autoencoder, build_autoencoder
from dimvida.models.checkpoint import load_checkpoint
from dimvida.models.config import GridAutoencoderConfig
from dimvida.sampling import images as images_module
from dimvida.sampling.images import finite_rows, require_rows
from dimvida.sampling.multiview import MultiViewModel

IMAGES = torch.randint(0, 256, (3, 2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def by_mask(model, *, right: torch.Tensor | None = None, left: torch.Tensor | None = None) -> torch.Tensor:
    views, known = torch.zeros(3, 4, 3, 16, 16, dtype=torch.uint8), torch.zeros(3, 4, dtype=torch.bool)
    for place, images in ((1, right), (3, left)):
        if images is not None:
            views[:, place], known[:, place] = images, True
    return model.generate(views, known, seed=1)


def test_one_name(model):
    expected = by_mask(model, right=IMAGES[:, 0])
    everything = torch.full((3, 4, 3, 16, 16), 9, dtype=torch.uint8)
    everything[:, 1] = IMAGES[:, 0]
    for views in (IMAGES[:, 0], IMAGES[:, :1], everything):
        for known in ("right", ["right"], ("right",)):
            assert torch.equal(model.generate(views, known, seed=1), expected)


def test_several_names_in_the_order_of_the_caller(model):
    expected = by_mask(model, right=IMAGES[:, 1], left=IMAGES[:, 0])
    assert torch.equal(model.generate(IMAGES, ["left", "right"], seed=1), expected)
    assert torch.equal(model.generate(IMAGES.flip(1), ("right", "left"), seed=1), expected)
    assert torch.equal(model.generate(expected, ("left", "right"), seed=1), expected)


def test_calling_the_model_generates(model):
    assert torch.equal(model(IMAGES, ["right", "left"], seed=1), model.generate(IMAGES, ["right", "left"], seed=1))


def test_no_name_is_no_known_view_and_all_names_leave_nothing_to_make(model):
    views = torch.zeros(3, 4, 3, 16, 16, dtype=torch.uint8)
    assert torch.equal(model.generate(views, (), seed=1), by_mask(model))
    assert torch.equal(model.generate(views + 7, model.view_names), views + 7)
    with pytest.raises(ValueError, match="model's order: front, right, back, left"):
        model.generate(views, model.view_names[::-1])


def test_names_that_do_not_fit(model):
    with pytest.raises(InputError, match="no view 'top'; it has front, right, back, left"):
        model.generate(IMAGES[:, 0], "top")
    with pytest.raises(InputError, match="named twice: left, left"):
        model.generate(IMAGES, ("left", "left"))
    with pytest.raises(ValueError, match=r"\[B, 4, 3, 16, 16\], or \[B, 2, 3, 16, 16\] of the named views"):
        model.generate(IMAGES[:, 0], ("left", "right"))
    with pytest.raises(
        ValueError, match=r"or \[B, 3, 16, 16\] of the named view, not torch.uint8 \[1, 3, 2, 3, 16, 16\]"
    ):
        model.generate(IMAGES[None], "left")


def test_what_must_be_tensors_is_told_how_to_become_them(model):
    known = torch.tensor([[True, False, False, False]]).expand(3, -1)
    views = torch.zeros(3, 4, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"known must be a bool tensor \[B, 4\], or names of front.*int"):
        model.generate(views, 5)
    with pytest.raises(TypeError, match=r"known must be a bool tensor \[B, 4\]"):
        model.generate(views, known.tolist())
    with pytest.raises(TypeError, match=r"sample_ids must be a torch tensor, int64 \[3\]"):
        model.generate(views, known, sample_ids=np.arange(3))
    with pytest.raises(TypeError, match=r"images must be a torch tensor, uint8 or float \[..., 3, 16, 16\]"):
        model.encode(views.numpy())
    with pytest.raises(TypeError, match=r"latents must be a torch tensor, float \[..., 8\], not list"):
        model.decode([0.0] * 8)


def test_channels_last_is_told_how_to_become_channels_first(model):
    wrong = IMAGES.movedim(2, -1)
    with pytest.raises(ValueError, match=r"channels come first: images.movedim\(-1, -3\)"):
        model.encode(wrong)
    with pytest.raises(ValueError, match=r"channels come first: views.movedim\(-1, -3\)"):
        model.generate(wrong, ("left", "right"))
    assert torch.equal(model.encode(wrong.movedim(-1, -3)), model.encode(IMAGES))


CUDA = torch.device("cuda")


def on_meta(**sizes) -> Autoencoder:
    with torch.device("meta"):
        return build_autoencoder(AutoencoderConfig(**sizes))


@pytest.mark.parametrize(
    "kind", [AutoencoderConfig, GridAutoencoderConfig], ids=lambda sizes: sizes.__name__.removesuffix("Config")
)
@pytest.mark.parametrize(("size", "base", "channels"), [(16, 8, 3), (32, 64, 1), (64, 16, 3), (128, 8, 3)])
def test_the_largest_activation_is_that_of_a_pass(kind: type, size: int, base: int, channels: int):
    with torch.device("meta"):
        autoencoder = build_autoencoder(kind(image_size=size, base=base, channels=channels))
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
    assert images_module.part_size(paper, CUDA) == 2048
    assert images_module.part_size(paper, torch.device("cpu")) == 32
    for size in (128, 256, 512, 1024):
        larger = on_meta(kind="pooling", image_size=size, base=64, latent_dim=8)
        part = images_module.part_size(larger, CUDA)
        assert part == 2048 // (size // 64) ** 2
        assert part * larger.largest_activation < 2**31
    huge = on_meta(kind="pooling", image_size=4096, base=64, latent_dim=8)
    assert images_module.part_size(huge, CUDA) == 1


def test_any_part_gives_the_same(tiny_checkpoint: Path, monkeypatch):
    model = dimvida.load(tiny_checkpoint)
    images = torch.randint(0, 256, (7, 3, 16, 16), dtype=torch.uint8)
    latents = model.encode(images)
    decoded = model.decode(latents)
    sizes = []
    model.autoencoder.encoder.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    model.autoencoder.decoder.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setattr(images_module, "LARGEST_ACTIVATION", 3 * model.autoencoder.largest_activation)
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


def require_finite(what: str, values: Tensor) -> None:
    require_rows(what, finite_rows(values))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_rows_are_named(bad: float, dtype: torch.dtype):
    latents = torch.randn(5, 4, 6).to(dtype)
    require_finite("latents", latents)
    latents[1, 3, 5] = latents[4, 0, 0] = bad
    with pytest.raises(NotFinite, match="latents of rows 1, 4 of the batch are not finite") as caught:
        require_finite("latents", latents)
    assert (caught.value.what, caught.value.rows) == ("latents", (1, 4))
    assert isinstance(caught.value, DimvidaError)


def test_many_rows_make_one_short_line():
    with pytest.raises(NotFinite, match="images of rows 0, 1, 2, 3, 4, 5, 6, 7 and 12 more") as caught:
        require_finite("images", torch.full((20, 4, 3, 8, 8), math.nan))
    assert caught.value.rows == tuple(range(20))


def test_a_largest_number_is_finite_and_so_is_nothing():
    assert finite_rows(torch.full((2, 3), torch.finfo(torch.float32).max)).tolist() == [True, True]
    assert finite_rows(torch.zeros(0, 4, 6)).tolist() == []
    assert finite_rows(torch.zeros(3, 0)).tolist() == [True] * 3
    assert finite_rows(torch.tensor([1.0, math.nan])).tolist() == [True, False]
