"""Completing batches on a GPU: in parts, in any surroundings, without waiting, timed on the right device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from dimvida.errors import NotFinite
from dimvida.generation.pipeline import StageTimes
from dimvida.generation.settings import resolve_settings
from dimvida.generation.trial import largest_batch
from dimvida.sampling import images as images_module
from dimvida.sampling.backends import upload
from dimvida.sampling.images import require_made
from dimvida.sampling.multiview import MultiViewModel, load

VIEWS = torch.randint(0, 256, (9, 4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
KNOWN = torch.arange(4) == torch.arange(9)[:, None] % 4
FLOAT32 = {"backend": "fused", "dtype": torch.float32}


@pytest.fixture
def model(device: torch.device, tiny_checkpoint: Path) -> MultiViewModel:
    return load(tiny_checkpoint, device)


def difference(a: torch.Tensor, b: torch.Tensor) -> int:
    """In levels."""
    return int((a.int() - b.int()).abs().max())


def test_parts_give_what_one_part_gives(model, monkeypatch, exact_float32):
    expected = model.generate(VIEWS, KNOWN, **FLOAT32)
    monkeypatch.setattr(images_module, "GPU_IMAGES", 2)
    assert difference(model.generate(VIEWS, KNOWN, **FLOAT32), expected) <= 1


def test_masks_and_names_from_the_host_and_from_the_device(model, device):
    front = torch.tensor([True, False, False, False]).expand(9, -1)
    expected = model.generate(VIEWS, front, **FLOAT32)
    assert torch.equal(model.generate(VIEWS[:, 0], "front", **FLOAT32), expected)
    got = model.generate(VIEWS.to(device), front.to(device), **FLOAT32)
    assert got.device == device and torch.equal(got.cpu(), expected)


def test_what_is_uploaded_may_be_expanded(device):
    mask = torch.tensor([True, False]).expand(5, -1)
    assert torch.equal(upload(mask, device).cpu(), mask)


def test_views_at_cameras_are_tried_for_the_largest_batch(device):
    model = load("bundled", device)
    assert largest_batch(model, resolve_settings(model), 100, views=5) == 128


def test_autocast_changes_nothing(model):
    expected = model.generate(VIEWS, KNOWN, **FLOAT32)
    with torch.autocast("cuda", torch.bfloat16):
        assert torch.equal(model.generate(VIEWS, KNOWN, **FLOAT32), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_weights_in_another_precision(model, dtype: torch.dtype):
    expected = model.generate(VIEWS, KNOWN, **FLOAT32)
    got = model.to(dtype).generate(VIEWS, KNOWN, **FLOAT32)
    assert torch.equal(got[KNOWN], VIEWS[KNOWN])
    assert (got.double() - expected.double()).abs().mean() < 4  # of 255 levels


def test_what_is_not_finite_is_an_error_with_its_rows(model):
    with torch.no_grad():
        model.autoencoder.decoder[0].weight.fill_(3e38)
        model.autoencoder.decoder[0].bias.zero_()
    latents = torch.zeros(5, 8)
    latents[[1, 3]] = 100.0
    with pytest.raises(NotFinite) as caught:
        model.decode(latents)
    assert caught.value.rows == (1, 3)


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_nobody_waits_before_the_pictures_are_asked_for(model, device):
    images = VIEWS[KNOWN].to(device)
    latents = model.sample_missing(model.encode_known(images, KNOWN), KNOWN)
    model.decode_views(latents, ~KNOWN)  # libraries may wait at their first call
    torch.cuda.synchronize(device)
    with torch.cuda.device(device), waiting_is_an_error():
        model.encode_known(images, KNOWN)
        made, finite = model.decode_views(latents, ~KNOWN)
    require_made(finite)
    assert made.shape == (int((~KNOWN).sum()), 16, 16, 3)


def test_stages_are_timed_on_the_device_that_works(device):
    times = StageTimes(device)
    x = torch.randn(2048, 2048, device=device)
    with times.device("decode"):
        for _ in range(50):
            x = (x @ x).tanh()
    assert 0 < times.totals()["decode"] < 60


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_largest_batch_is_found(model, dtype: str):
    assert largest_batch(model, resolve_settings(model, dtype=dtype, backend="fused"), 300) == 512
