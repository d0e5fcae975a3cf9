"""Objects that lack views train what they have, and what is not there leaves no trace."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from helpers.networks import weights

from dimvida.sampling.multiview import load
from dimvida.training.config import TrainConfig
from dimvida.training.latents import encode_views, encoding_dtype, latent_statistics, object_variants

from .conftest import partly, prepared, run


def test_statistics_are_those_of_the_views_that_are_there():
    latents = torch.tensor([[[1.0, 5.0], [3.0, 5.0], [99.0, -1.0]]])
    mean, std = latent_statistics(latents, torch.tensor([[True, True, False]]))
    assert mean.tolist() == [2.0, 5.0]
    assert std.tolist() == [1.0, torch.tensor(1e-6).item()]


def test_an_absent_view_is_absent_on_the_other_side_of_the_mirrored_object():
    present = torch.tensor([[True, True, True, False]])
    plain, mirrored = (variant.views(present) for variant in object_variants(3, mirror=True, recolour=False))
    assert torch.equal(plain, present)
    assert mirrored.tolist() == [[True, False, True, True]]


@pytest.fixture(scope="module")
def mirrored(fast_config: TrainConfig) -> TrainConfig:
    return dataclasses.replace(
        fast_config,
        autoencoder_stage=dataclasses.replace(fast_config.autoencoder_stage, steps=20),
        diffusion_stage=dataclasses.replace(fast_config.diffusion_stage, steps=30, mirror=True),
        validation=0.4,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mirrored: TrainConfig) -> Path:
    """Trained on partial objects, some of them held out."""
    out = tmp_path_factory.mktemp("partial")
    assert run(out, mirrored, prepared(partly(), mirrored))
    return out


def test_what_lies_in_the_place_of_an_absent_view_leaves_no_trace(
    finished: Path, tmp_path: Path, mirrored: TrainConfig
):
    data = prepared(partly(), mirrored)
    data.images[~data.present] = 77
    data.held_out[~data.held_out_present] = 200
    assert run(tmp_path, mirrored, data)
    assert weights(tmp_path) == weights(finished)
    for sheet in (Path("samples") / "autoencoder-000020.png", Path("samples") / "diffusion-000030.png"):
        assert (tmp_path / sheet).read_bytes() == (finished / sheet).read_bytes()


def test_resumed_on_partial_objects_it_ends_the_same(finished: Path, tmp_path: Path, mirrored: TrainConfig):
    data = prepared(partly(), mirrored)
    assert not run(tmp_path, mirrored, data, stop=21)  # while it encodes
    assert not run(tmp_path, mirrored, data, stop=15, resume=True)
    assert run(tmp_path, mirrored, data, resume=True)
    assert weights(tmp_path) == weights(finished)


def test_latents_are_standardised_over_the_views_that_are_there(finished: Path, mirrored: TrainConfig):
    data, model = prepared(partly(), mirrored), load(finished)
    dtype = encoding_dtype(mirrored, model.autoencoder, model.device)
    encoded = encode_views(model.autoencoder, data.images, data.present, model.device, dtype)[data.present]
    latents = (encoded - model.latent_mean) / model.latent_std
    torch.testing.assert_close(latents.mean(0), torch.zeros(8), rtol=0, atol=1e-4)
    torch.testing.assert_close(latents.std(0, correction=0), torch.ones(8), rtol=0, atol=1e-4)
