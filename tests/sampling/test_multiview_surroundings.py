"""A model computes the same wherever it is called, and keeps its types in other precisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import dimvida
from dimvida.models.classifiers import build_classifier
from dimvida.sampling.multiview import MultiViewModel

from .conftest import default_dtype

VIEWS = torch.randint(0, 256, (4, 4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
KNOWN = torch.tensor([[True, False, False, False]] * 3 + [[False, True, True, False]])
BACKENDS = ("eager", "fused")


SURROUNDINGS: dict[str, Callable] = {
    "autocast to bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", torch.float16),
    "default float64": lambda: default_dtype(torch.float64),
    "default bfloat16": lambda: default_dtype(torch.bfloat16),
    "inference mode": torch.inference_mode,
    "gradients": torch.enable_grad,
}


def results(model: MultiViewModel, backend: str) -> list[torch.Tensor]:
    latents = model.encode(VIEWS)
    dtype = torch.float32 if backend == "fused" else None
    return [latents, model.decode(latents), model.generate(VIEWS, KNOWN, seed=3, backend=backend, dtype=dtype)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loaded", ["outside", "inside"])
@pytest.mark.parametrize("name", [*SURROUNDINGS, "default device"])
def test_the_surroundings_change_nothing(tiny_checkpoint: Path, name: str, loaded: str, backend: str):
    surroundings = SURROUNDINGS.get(name, lambda: torch.device("meta"))
    expected = results(dimvida.load(tiny_checkpoint), backend)
    model = dimvida.load(tiny_checkpoint)
    with surroundings():
        if loaded == "inside":
            model = dimvida.load(tiny_checkpoint)
            assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
        inside = results(model, backend)
    outside = results(model, backend)
    for got in (inside, outside):
        assert [tensor.dtype for tensor in got] == [torch.float32, torch.float32, torch.uint8]
        assert not any(tensor.is_inference() or tensor.requires_grad for tensor in got)
        assert all(map(torch.equal, got, expected))


def test_a_model_loaded_in_inference_mode_can_be_changed(tiny_checkpoint: Path):
    with torch.inference_mode():
        model = dimvida.load(tiny_checkpoint)
    assert not any(tensor.is_inference() for tensor in model.state_dict().values())
    before = model.encode(VIEWS)
    with torch.no_grad():
        model.autoencoder.encoder[-1].bias.add_(1)
    torch.testing.assert_close(model.encode(VIEWS), before + 1 / model.latent_std)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_another_precision_keeps_types_and_is_near(tiny_checkpoint: Path, dtype: torch.dtype, backend: str):
    exact = results(dimvida.load(tiny_checkpoint), backend)
    model = dimvida.load(tiny_checkpoint).to(dtype)
    got = results(model, backend)
    assert [tensor.dtype for tensor in got] == [torch.float32, torch.float32, torch.uint8]
    assert torch.equal(got[2][KNOWN], VIEWS[KNOWN])
    latents, images, pictures = ((a.double() - b.double()).abs().mean() for a, b in zip(got, exact, strict=True))
    # A number in bfloat16 is off by up to 2^-9 of itself, and a trajectory of four steps carries that on.
    assert latents < 2**-6 and images < 2**-6 and pictures < 4
    if dtype != torch.float64:
        assert latents > 0  # it was really computed in it
        assert {tensor.dtype for tensor in model.state_dict().values()} == {dtype}


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_classifier_takes_and_returns_what_it_says(name: str):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = build_classifier("resnet18", ["a", "b", "c"]).eval()
        expected = classifier(VIEWS[:, 0])
        with SURROUNDINGS[name]():
            torch.manual_seed(0)
            inside = build_classifier("resnet18", ["a", "b", "c"]).eval()
            assert {tensor.dtype for tensor in inside.state_dict().values()} <= {torch.float32, torch.int64}
            got = classifier(VIEWS[:, 0])
    assert got.dtype == torch.float32 == inside.mean.dtype
    low = name.startswith("autocast")  # which the classifier obeys, as any network that is trained
    assert (got - expected).abs().max() <= (0.1 if low else 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_classifier_in_another_precision(dtype: torch.dtype):
    classifier = build_classifier("resnet18", ["a", "b", "c"]).eval()
    expected = classifier(VIEWS[:, 0])
    got = classifier.to(dtype)(VIEWS[:, 0])
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert (got - expected).abs().max() < (1e-4 if dtype == torch.float64 else 0.1)
