"""Encode and decode as a plan, against the layers themselves."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

import dimvida
from dimvida import ops
from dimvida.bench.machine import torch_threads
from dimvida.models import AutoencoderConfig
from dimvida.models.autoencoder import Autoencoder, build_autoencoder
from dimvida.models.config import GridAutoencoderConfig
from dimvida.sampling import codec
from dimvida.sampling.codec import AutoencoderPlan, has_plan, plan_of
from dimvida.sampling.images import decode_in_parts, encode_in_parts

CONFIGS = {
    "pooling": AutoencoderConfig("pooling", image_size=16, latent_dim=6, base=8),
    "pooling, odd": AutoencoderConfig("pooling", image_size=12, channels=1, latent_dim=5, base=6),
    "grid": GridAutoencoderConfig(image_size=16, base=8),
    "grid, deep": GridAutoencoderConfig(image_size=24, channels=1, latent_channels=2, base=16, depth=2),
}


class Case:
    """A random autoencoder, a standardisation, and images."""

    def __init__(self, config, count: int = 5) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.autoencoder = build_autoencoder(config).to(memory_format=torch.channels_last).eval()
            with torch.no_grad():
                for parameter in self.autoencoder.parameters():  # also the zeros and ones among them
                    parameter.add_(0.02 * torch.randn_like(parameter))
            self.mean, self.std = torch.randn(config.latent_dim), 0.5 + torch.rand(config.latent_dim)
            self.images = torch.randint(0, 256, (count, *config.image_shape), dtype=torch.uint8)
            self.latents = self.encoded()

    @torch.no_grad()
    def encoded(self) -> Tensor:
        return (encode_in_parts(self.autoencoder, self.images) - self.mean) / self.std

    @torch.no_grad()
    def decoded(self) -> Tensor:
        return decode_in_parts(self.autoencoder, self.latents * self.std + self.mean)[0]

    def planned(self, plan: AutoencoderPlan, latents: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Latents and bytes by the plan."""
        encoded = plan.encode(self.autoencoder, self.mean, self.std, self.images)
        decoded, finite = plan.decode(
            self.autoencoder, self.mean, self.std, self.latents if latents is None else latents
        )
        assert finite.all() and finite.dtype == torch.bool
        return encoded, decoded


def levels(images: Tensor) -> Tensor:
    return ops.pack_images(images).int()


def decibels(ours: Tensor, theirs: Tensor) -> float:
    """PSNR between bytes."""
    return float(-10 * torch.log10((ours.int() - theirs.int()).double().square().mean() / 255**2))


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_float32_is_the_layers_within_a_level(name: str):
    case = Case(CONFIGS[name])
    encoded, decoded = case.planned(AutoencoderPlan(torch.float32))
    assert encoded.dtype == torch.float32 and decoded.dtype == torch.uint8
    torch.testing.assert_close(encoded, case.latents, rtol=1e-4, atol=1e-5)
    assert (decoded.int() - levels(case.decoded())).abs().max() <= 1


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@torch.no_grad()
def test_low_precision_is_near(name: str, dtype: torch.dtype):
    if dtype == torch.float16 and not torch.backends.mkldnn.is_available():
        pytest.skip("no convolution in float16 on this processor")
    case = Case(CONFIGS[name])
    encoded, decoded = case.planned(AutoencoderPlan(dtype))
    assert encoded.dtype == torch.float32
    assert (encoded - case.latents).abs().mean() < 2**-7 * case.latents.abs().mean()
    assert decibels(decoded, levels(case.decoded())) > 50


@torch.no_grad()
def test_the_bundled_decoder_in_bfloat16_is_near_that_in_float32():
    model = dimvida.load("bundled")
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    latents = model.encode_bytes(images, None)
    exact, _ = model.decode_bytes(latents, None)
    assert (model.decode_bytes(latents, torch.float32)[0].int() - exact.int()).abs().max() <= 1
    assert decibels(model.decode_bytes(latents, torch.bfloat16)[0], exact) > 50


@torch.no_grad()
def test_a_decoder_of_the_papers_size_in_bfloat16_is_near_that_in_float32():
    case = Case(AutoencoderConfig("pooling"), count=2)
    latents = 3 * torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    _, exact = case.planned(AutoencoderPlan(torch.float32), latents)
    assert exact.float().std() > 20  # where pictures are one gray, nothing is far from anything
    _, rounded = case.planned(AutoencoderPlan(torch.bfloat16), latents)
    assert decibels(rounded, exact) > 50


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["pooling", "grid"])
@torch.no_grad()
def test_parts_and_threads_change_no_picture(name: str, dtype: torch.dtype, monkeypatch):
    case = Case(CONFIGS[name], count=7)
    encoded, decoded = case.planned(AutoencoderPlan(dtype))
    monkeypatch.setattr(codec, "CPU_BYTES", 3 * case.autoencoder.largest_activation * dtype.itemsize)
    parts = case.planned(AutoencoderPlan(dtype))
    torch.testing.assert_close(parts[0], encoded, rtol=1e-2 if dtype != torch.float32 else 1e-5, atol=1e-3)
    assert (parts[1].int() - decoded.int()).abs().max() <= 1
    with torch_threads(3 - min(torch.get_num_threads(), 2)):
        again = case.planned(AutoencoderPlan(dtype))
    assert (again[1].int() - parts[1].int()).abs().max() <= 1


@torch.no_grad()
def test_nothing_is_nothing():
    case = Case(CONFIGS["pooling"])
    plan = AutoencoderPlan(torch.float32)
    encoded = plan.encode(case.autoencoder, case.mean, case.std, case.images[:0])
    decoded, finite = plan.decode(case.autoencoder, case.mean, case.std, case.latents[:0])
    assert encoded.shape == (0, 6) and decoded.shape == (0, 16, 16, 3) and finite.shape == (0,)


@pytest.mark.parametrize("name", ["pooling", "grid"])
@torch.no_grad()
def test_images_that_are_not_finite_are_told(name: str):
    case = Case(CONFIGS[name])
    case.latents[[1, 3], 2] = torch.tensor([torch.nan, torch.inf])
    plan = AutoencoderPlan(torch.float32)
    _, finite = plan.decode(case.autoencoder, case.mean, case.std, case.latents)
    assert finite.tolist() == [True, False, True, False, True]


@torch.no_grad()
def test_changed_weights_are_noticed():
    case = Case(CONFIGS["pooling"])
    plan = AutoencoderPlan(torch.float32)
    for builds in (2, 2):
        before = case.planned(plan)
        assert plan.builds.total() == builds
    case.autoencoder.decoder[0].weight.data.numpy()[0, 0] += 1.0  # by memory, of which torch knows nothing
    after = case.planned(plan)
    assert plan.builds.total() == 3 and torch.equal(after[0], before[0]) and not torch.equal(after[1], before[1])
    case.std.mul_(2)
    assert not torch.equal(case.planned(plan)[0], before[0]) and plan.builds.total() == 5
    assert (case.planned(plan)[1].int() - levels(case.decoded())).abs().max() <= 1


def test_what_is_not_its_weights_has_no_plan():
    autoencoder = Case(CONFIGS["pooling"]).autoencoder
    assert has_plan(autoencoder) and not has_plan(copy.deepcopy(autoencoder).half())
    other = copy.deepcopy(autoencoder)
    other.decoder[-2] = torch.nn.GELU()
    assert not has_plan(other)
    hook = autoencoder.encoder.register_forward_hook(lambda module, inputs, output: None)
    assert not has_plan(autoencoder)
    hook.remove()
    with torch.nn.modules.module.register_module_forward_pre_hook(lambda module, inputs: None):
        assert not has_plan(autoencoder)

    class Mine(type(autoencoder)):
        pass

    assert has_plan(autoencoder) and not has_plan(Mine(autoencoder.config))
    with torch.device("meta"):
        huge = build_autoencoder(AutoencoderConfig("pooling", image_size=8, base=4096))
    assert not has_plan(huge)


def _replaced(name: str, autoencoder: Autoencoder) -> None:
    """Change an autoencoder of the kind ``grid`` beside its weights."""
    block = autoencoder.decoder[2]
    if name == "padding":
        block.conv1.padding_mode = "circular"
    elif name == "epsilon":
        block.norm1.eps = 0.5
    elif name == "kind":
        block.norm1 = torch.nn.Identity()
    elif name == "bias":
        block.conv1 = torch.nn.Conv2d(block.conv1.in_channels, block.conv1.out_channels, 3, padding=1, bias=False)
    else:
        autoencoder.decoder.append(torch.nn.LeakyReLU(0.1))


@pytest.mark.parametrize("name", ["padding", "epsilon", "kind", "bias", "another layer"])
def test_layers_of_its_kinds_that_are_not_its_own_have_no_plan(name: str):
    autoencoder = Case(CONFIGS["grid"]).autoencoder
    assert has_plan(autoencoder)
    _replaced(name, autoencoder)
    assert not has_plan(autoencoder)


def test_looking_for_a_plan_draws_no_numbers():
    autoencoder = Case(CONFIGS["grid"]).autoencoder
    codec._as_built.cache_clear()
    before = torch.get_rng_state()
    assert has_plan(autoencoder) and torch.equal(torch.get_rng_state(), before)


def test_a_plan_is_made_once_and_lives_as_long_as_its_autoencoder():
    autoencoder = Case(CONFIGS["grid"]).autoencoder
    device = torch.device("cpu")
    with ThreadPoolExecutor(4) as pool:
        plans = set(pool.map(plan_of, [autoencoder] * 8, [torch.float32] * 8, [device] * 8))
    assert len(plans) == 1 and plan_of(autoencoder, torch.bfloat16, device) not in plans
    count = len(codec._PLANS)
    del autoencoder
    assert len(codec._PLANS) < count


@torch.no_grad()
def test_threads_share_a_plan():
    case = Case(CONFIGS["pooling"])
    plan = AutoencoderPlan(torch.float32)
    expected = case.planned(plan)
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: case.planned(plan), range(8)):
            assert torch.equal(got[0], expected[0]) and torch.equal(got[1], expected[1])
    assert plan.builds.total() == 2


def calls(autoencoder: Autoencoder) -> list[str]:
    """Which halves are asked; looked at without hooks, for which there is no plan."""
    asked = []
    for name in ("encode", "decode"):
        method = getattr(autoencoder, name)
        setattr(autoencoder, name, lambda x, name=name, method=method: asked.append(name) or method(x))
    return asked


def test_generate_uses_the_plan_and_eager_the_layers(tiny_checkpoint: Path):
    views, known = torch.randint(0, 256, (2, 4, 3, 16, 16), dtype=torch.uint8), torch.zeros(2, 4, dtype=torch.bool)
    known[:, 1] = True
    model = dimvida.load(tiny_checkpoint)
    asked = calls(model.autoencoder)
    eager = model.generate(views, known, backend="eager")
    assert asked == ["encode", "decode"]
    fused = model.generate(views, known, backend="fused", dtype=torch.float32)
    assert asked == ["encode", "decode"]
    assert (fused.int() - eager.int()).abs().max() <= 1
    model.half().generate(views, known, backend="fused")
    assert asked == ["encode", "decode"] * 2
