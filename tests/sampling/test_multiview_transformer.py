"""A model with a grid autoencoder and a view transformer completes views."""

from __future__ import annotations

import pytest
import torch
from helpers.networks import randomised, tiny_transformer
from torch import Tensor

from dimvida import ops
from dimvida.generation.settings import resolve_settings
from dimvida.models import GridAutoencoderConfig, TransformerConfig
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig, SamplingDefaults
from dimvida.sampling import sample
from dimvida.sampling.multiview import MultiViewModel

from .conftest import random_network

NOISY = ["euler-maruyama", "sde-dpmpp-2m", "repaint"]


@pytest.fixture(scope="module")
def model(one_thread: None) -> MultiViewModel:
    config = CheckpointConfig(
        ("front", "right", "back", "left"),
        (),
        GridAutoencoderConfig(image_size=32, latent_channels=2, base=8),
        TransformerConfig(width=16, depth=2, heads=2, time_dim=8),
        sampling=SamplingDefaults("sde-dpmpp-2m", 4, 4.0),
    )
    autoencoder, score = config.build()
    # Latents of a wide spread, so that different latents decode to visibly different pictures.
    return MultiViewModel(Checkpoint(config, autoencoder, randomised(score), torch.zeros(32), torch.full((32,), 20.0)))


def objects(rows: int = 8) -> tuple[Tensor, Tensor]:
    """Pictures, and a set of known views for each row: also none and all but one."""
    generator = torch.Generator().manual_seed(0)
    views = torch.randint(0, 256, (rows, 4, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return views, (torch.arange(rows)[:, None] >> torch.arange(4)) & 1 == 1


def test_it_completes_and_the_same_way_each_time(model: MultiViewModel):
    views, known = objects()
    out = model.generate(views, known, seed=5)
    assert torch.equal(out[known], views[known])
    assert torch.equal(model.generate(views, known, seed=5), out)
    assert not torch.equal(model.generate(views, known, seed=6)[~known], out[~known])
    blanked = torch.where(known[:, :, None, None, None], views, 0).to(torch.uint8)
    assert torch.equal(model.generate(blanked, known, seed=5)[~known], out[~known])


@pytest.mark.parametrize("size", [1, 3])
def test_an_object_does_not_depend_on_its_batch(model: MultiViewModel, size: int):
    views, known = objects()
    ids = torch.arange(100, 108)
    together = model.generate(views, known, sample_ids=ids, dtype=torch.float32)
    parts = [slice(start, start + size) for start in range(0, 8, size)]
    apart = torch.cat(
        [model.generate(views[part], known[part], sample_ids=ids[part], dtype=torch.float32) for part in parts]
    )
    assert int((together.int() - apart.int()).abs().max()) <= 1  # products of other sizes round otherwise


def test_every_backend_makes_the_same_pictures(model: MultiViewModel):
    settings = resolve_settings(model, dtype="float32")
    assert (settings.backend, settings.dtype) == ("fused" if ops.native_available() else "eager", "float32")
    views, known = objects()
    eager = model.generate(views, known, seed=5, backend="eager")
    for backend in ("auto", "fused"):
        made = model.generate(views, known, seed=5, backend=backend, dtype=torch.float32)
        assert int((made.int() - eager.int()).abs().max()) <= 1


def latents_of(views: int, rows: int = 2) -> tuple[Tensor, Tensor]:
    """Latents of a tiny transformer's, of which the first view is known."""
    latents = torch.randn(rows, views, 32, generator=torch.Generator().manual_seed(1))
    return latents, torch.arange(views).expand(rows, views) == 0


@pytest.mark.parametrize("solver", NOISY)
def test_all_named_views_are_the_default(solver: str):
    network = tiny_transformer(4, (2, 4, 4))
    latents, known = latents_of(4)
    options = {"solver": solver, "steps": 3, "seed": 7}
    out = sample(network, latents, known, **options)
    assert torch.equal(sample(network, latents, known, views=torch.arange(4), **options), out)
    assert torch.equal(sample(network, latents, known, views=torch.arange(4).expand(2, 4), **options), out)


@pytest.mark.parametrize("solver", NOISY)
def test_with_ids_of_their_own_the_order_of_views_changes_their_order_alone(solver: str):
    network = tiny_transformer(4, (2, 4, 4))
    latents, known = latents_of(4)
    views, ids = torch.tensor([2, 0, 3, 1]), torch.arange(8).reshape(2, 4) - 4
    options = {"solver": solver, "steps": 3, "seed": 7, "dtype": torch.float32}
    out = sample(network, latents, known, views=views, sample_ids=ids, **options)
    order = torch.tensor([1, 3, 0, 2])
    turned = sample(
        network, latents[:, order], known[:, order], views=views[order], sample_ids=ids[:, order], **options
    )
    torch.testing.assert_close(turned, out[:, order], atol=1e-4, rtol=1e-4)
    other = sample(network, latents, known, views=views, sample_ids=ids + 1, **options)
    assert not torch.allclose(other[~known], out[~known], atol=1e-2)


@pytest.mark.parametrize("solver", NOISY)
def test_kernels_draw_by_view_as_the_reference_does(solver: str):
    latents, known = latents_of(5, 3)
    ids = torch.arange(15).reshape(3, 5)

    def network(x: Tensor, tau: Tensor, views: Tensor) -> Tensor:
        return -x * tau[..., None] + 0.01 * views[..., :1]

    options = {"solver": solver, "steps": 3, "views": torch.rand(5, 2), "sample_ids": ids}
    eager = sample(network, latents, known, backend="eager", **options)
    torch.testing.assert_close(sample(network, latents, known, **options), eager, atol=1e-5, rtol=1e-5)
    one = options | {"views": options["views"][1:3], "sample_ids": ids[2:, 1:3]}
    alone = sample(network, latents[2:, 1:3], known[2:, 1:3], **one)
    torch.testing.assert_close(alone, eager[2:, 1:3], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("views", [2, 3, 7])
def test_any_number_of_named_views(views: int):
    latents, known = latents_of(views)
    places = torch.arange(views) % 4
    out = sample(tiny_transformer(4, (2, 4, 4)), latents, known, steps=2, solver="ddim", views=places)
    assert out.shape == latents.shape and torch.equal(out[known], latents[known])
    assert (out[~known] != latents[~known]).any(-1).all()


def test_views_that_do_not_fit():
    latents, known = latents_of(3)
    network = tiny_transformer(4, (2, 4, 4))
    for views in (torch.arange(4), torch.arange(3).int(), torch.zeros(3, 2), torch.zeros(1, 3, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"views must be int64 \[3\] or \[2, 3\], not"):
            sample(network, latents, known, steps=1, views=views)
    with pytest.raises(ValueError, match="places from 0 to 3"):
        sample(network, latents, known, steps=1, views=torch.tensor([0, 1, 4]))
    with pytest.raises(ValueError, match=r"latents \[B, 4, 32\]"):
        sample(network, latents, known, steps=1)
    with pytest.raises(ValueError, match=r"sample_ids must be int64 \[2\] or \[2, 3\], not"):
        sample(network, latents, known, steps=1, views=torch.arange(3), sample_ids=torch.arange(3))
    with pytest.raises(ValueError, match="views must be None"):
        sample(random_network(3, 32), latents, known, steps=1, views=torch.arange(3))
