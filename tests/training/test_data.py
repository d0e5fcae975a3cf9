"""What a training is made of."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch._dynamo

from dimvida.data.batch import MultiViewBatch
from dimvida.errors import InputError
from dimvida.models import GridAutoencoderConfig, TransformerConfig
from dimvida.training.config import TrainConfig
from dimvida.training.data import TrainingData, prepare_data
from dimvida.training.seeds import derived_generator

from .conftest import OBJECTS, batch_of, complete, partly, prepared


@pytest.mark.parametrize("name", ["_front", "a__b", "front/left", "", ".", "x" * 300])
def test_names_of_views_that_could_not_be_generated_are_refused(
    fast_config: TrainConfig, data: TrainingData, name: str
):
    batch = MultiViewBatch(
        images=data.images,
        known=data.present,
        labels=torch.zeros(len(data.images), dtype=torch.int64),
        ids=tuple(map(str, range(len(data.images)))),
        view_names=("front", "right", "back", name),
    )
    with pytest.raises(InputError, match="cannot name a view"):
        prepare_data(batch, ("box",), fast_config, {})


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


def test_there_may_be_any_number_of_views_where_a_step_draws_some(fast_config: TrainConfig):
    names = tuple(f"view{number}" for number in range(63))
    images, known = torch.zeros(5, 63, 3, 8, 8, dtype=torch.uint8), torch.ones(5, 63, dtype=torch.bool)
    batch = MultiViewBatch(images, known, torch.zeros(5, dtype=torch.int64), tuple("abcde"), names)
    grid = dataclasses.replace(fast_config, score=TransformerConfig(), autoencoder=GridAutoencoderConfig())
    some = dataclasses.replace(grid.diffusion_stage, views_drawn=62)
    limit = "a training step takes at most 62 views of an object, not 63"
    with pytest.raises(InputError, match=f"^{limit}$"):
        prepare_data(batch, ("box",), fast_config, {})
    with pytest.raises(InputError, match=f"^{limit}; diffusion_stage.views_drawn takes some of them"):
        prepare_data(batch, ("box",), grid, {})
    assert prepare_data(batch, ("box",), dataclasses.replace(grid, diffusion_stage=some), {}).view_names == names


def test_more_views_to_draw_than_there_are_is_said(fast_config: TrainConfig):
    def notes(drawn: int) -> tuple[str, ...]:
        stage = dataclasses.replace(fast_config.diffusion_stage, views_drawn=drawn)
        config = dataclasses.replace(fast_config, score=TransformerConfig(), autoencoder=GridAutoencoderConfig())
        return prepared(complete(), dataclasses.replace(config, diffusion_stage=stage)).notes

    assert notes(4) == notes(0) == ()
    assert notes(6) == ("diffusion_stage.views_drawn 6: the data have 4 views, so a step takes all of them",)


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
