"""A model with a grid autoencoder and a view transformer completes views."""

from __future__ import annotations

import pytest
import torch
from helpers.networks import randomised
from torch import Tensor

from dimvida.errors import InputError
from dimvida.generation.settings import resolve_settings
from dimvida.models import GridAutoencoderConfig, TransformerConfig
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig, SamplingDefaults
from dimvida.sampling.multiview import MultiViewModel


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
    assert torch.equal(model.generate(views, known, seed=5, backend="eager"), out)
    assert not torch.equal(model.generate(views, known, seed=6)[~known], out[~known])
    blanked = torch.where(known[:, :, None, None, None], views, 0).to(torch.uint8)
    assert torch.equal(model.generate(blanked, known, seed=5)[~known], out[~known])


@pytest.mark.parametrize("size", [1, 3])
def test_an_object_does_not_depend_on_its_batch(model: MultiViewModel, size: int):
    views, known = objects()
    ids = torch.arange(100, 108)
    together = model.generate(views, known, sample_ids=ids)
    parts = [slice(start, start + size) for start in range(0, 8, size)]
    apart = torch.cat([model.generate(views[part], known[part], sample_ids=ids[part]) for part in parts])
    assert int((together.int() - apart.int()).abs().max()) <= 1  # products of other sizes round otherwise


def test_it_is_computed_by_pytorch_alone(model: MultiViewModel):
    settings = resolve_settings(model)
    assert (settings.backend, settings.dtype) == ("eager", "float32")
    views, known = objects()
    refused = r"backend 'fused' (cannot compute a ViewTransformer; use 'auto' or 'eager'|has no native kernels)"
    with pytest.raises(InputError, match=refused):
        model.generate(views, known, backend="fused")
    with pytest.raises(InputError, match=refused):
        resolve_settings(model, backend="fused")
