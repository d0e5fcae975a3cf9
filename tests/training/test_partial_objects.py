"""Objects that lack views train what they have, and what is not there leaves no trace."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from helpers.objects import VIEWS, coloured_boxes
from helpers.trainings import StopAfter

from dimvida.data.batch import MultiViewBatch
from dimvida.errors import InputError
from dimvida.models.checkpoint import WEIGHT_FILES
from dimvida.sampling.multiview import load
from dimvida.training.config import TrainConfig
from dimvida.training.control import no_progress
from dimvida.training.data import TrainingData, prepare_data
from dimvida.training.latents import latent_statistics, object_variants
from dimvida.training.run import Run
from dimvida.training.seeds import derived_generator

OBJECTS = 40


def batch_of(known: torch.Tensor) -> MultiViewBatch:
    objects, views = known.shape
    images = torch.from_numpy(coloured_boxes(objects)).permute(0, 1, 4, 2, 3)[:, :views].contiguous()
    images[~known] = 0
    ids = tuple(f"box/{number}" for number in range(objects))
    return MultiViewBatch(images, known, torch.zeros(objects, dtype=torch.int64), ids, VIEWS[:views])


def prepared(known: torch.Tensor, config: TrainConfig) -> TrainingData:
    return prepare_data(batch_of(known), ("box",), config, {})


def complete(objects: int = OBJECTS) -> torch.Tensor:
    return torch.ones(objects, 4, dtype=torch.bool)


def partly(objects: int = OBJECTS) -> torch.Tensor:
    """The first ten objects are complete; of the others each lacks a view or two, and the last has only one."""
    known = complete(objects)
    for number in range(10, objects):
        known[number, number % 4] = False
        known[number, (number // 4) % 4] = False
    known[-1] = torch.tensor([False, True, False, False])
    return known


def test_complete_objects_are_divided_as_they_always_were(fast_config: TrainConfig):
    data = prepared(complete(), fast_config)
    order = torch.randperm(OBJECTS, generator=derived_generator(fast_config.seed, "validation"))
    images = batch_of(complete()).images
    assert torch.equal(data.held_out, images[order[:2]]) and torch.equal(data.images, images[order[2:]])
    assert data.present.all() and data.held_out_present.all() and data.notes == ()
    # Recorded: another hash would refuse to go on with trainings of an earlier version.
    assert data.digest == "26910ced962f265d1cc59676c869fda5ea52c21a40a7a5e7f36b6fb5effb4c4e"


def test_complete_objects_are_held_out_first_but_half_of_them_stay(fast_config: TrainConfig):
    data = prepared(partly(), dataclasses.replace(fast_config, validation=0.1))
    assert len(data.held_out) == 4 and data.held_out_present.all()
    data = prepared(partly(), dataclasses.replace(fast_config, validation=0.4))
    counts = data.held_out_present.sum(1)
    assert len(counts) == 16 and int((counts == 4).sum()) == 5 and int(counts.min()) == 2
    assert int(data.present.all(1).sum()) == 5 and int(data.present.sum(1).min()) == 1


def test_what_is_missing_is_counted_and_said(fast_config: TrainConfig):
    known = partly()
    known[20] = False
    data = prepared(known, fast_config)
    counts = {"objects": 37, "validation_objects": 2, "partial_objects": 29, "left_out": 1}
    absent = 39 * 4 - int(known.sum())
    assert data.description == {**counts, "absent_views": absent}
    left_out, partial = data.notes
    assert left_out == "1 object left out: no view can be read"
    assert partial == f"29 objects of 39 not complete ({absent} views absent of 156); they train what they have"
    other = known.clone()
    other[12, 1] = ~other[12, 1]
    assert prepared(other, fast_config).digest != data.digest


def test_views_that_never_meet_are_named(fast_config: TrainConfig):
    known = complete()
    known[::2, 2:] = False
    known[1::2, :2] = False
    data = prepared(known, fast_config)
    assert data.notes[-1] == "no object has both 'front' and 'back': how the two go together cannot be learned"


@pytest.mark.parametrize(
    ("known", "named"),
    [
        (torch.eye(4, dtype=torch.bool), "at least 2 objects with two or more views each, not 0"),
        (torch.eye(4, dtype=torch.bool) | torch.tensor([[True], [False], [False], [False]]), "views each, not 1"),
        (torch.tensor([[True, True, True, False]] * 9), "no object to train on has the view 'left'"),
    ],
)
def test_data_that_cannot_be_trained_on(fast_config: TrainConfig, known: torch.Tensor, named: str):
    with pytest.raises(InputError, match=named):
        prepared(known, fast_config)


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


def trained(out: Path, config: TrainConfig, data: TrainingData, stop: int = 10**9, resume: bool = False) -> bool:
    return Run(out, config, data, torch.device("cpu"), no_progress, StopAfter(stop)).train("all", resume)


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
    assert trained(out, mirrored, prepared(partly(), mirrored))
    return out


def test_what_lies_in_the_place_of_an_absent_view_leaves_no_trace(
    finished: Path, tmp_path: Path, mirrored: TrainConfig
):
    data = prepared(partly(), mirrored)
    data.images[~data.present] = 77
    data.held_out[~data.held_out_present] = 200
    assert trained(tmp_path, mirrored, data)
    for name in WEIGHT_FILES:
        assert (tmp_path / "checkpoint" / name).read_bytes() == (finished / "checkpoint" / name).read_bytes()
    for sheet in (Path("samples") / "autoencoder-000020.png", Path("samples") / "diffusion-000030.png"):
        assert (tmp_path / sheet).read_bytes() == (finished / sheet).read_bytes()


def test_resumed_on_partial_objects_it_ends_the_same(finished: Path, tmp_path: Path, mirrored: TrainConfig):
    data = prepared(partly(), mirrored)
    assert not trained(tmp_path, mirrored, data, stop=21)  # while it encodes
    assert not trained(tmp_path, mirrored, data, stop=15, resume=True)
    assert trained(tmp_path, mirrored, data, resume=True)
    for name in WEIGHT_FILES:
        assert (tmp_path / "checkpoint" / name).read_bytes() == (finished / "checkpoint" / name).read_bytes()


def test_latents_are_standardised_over_the_views_that_are_there(finished: Path, mirrored: TrainConfig):
    data = prepared(partly(), mirrored)
    latents = load(finished).encode(data.images)[data.present]
    torch.testing.assert_close(latents.mean(0), torch.zeros(8), rtol=0, atol=1e-4)
    torch.testing.assert_close(latents.std(0, correction=0), torch.ones(8), rtol=0, atol=1e-4)
