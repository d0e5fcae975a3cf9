"""What a training is made of."""

from __future__ import annotations

import pytest
import torch
import torch._dynamo

from dimvida.data.batch import MultiViewBatch
from dimvida.errors import InputError
from dimvida.training.config import TrainConfig
from dimvida.training.data import TrainingData, prepare_data


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
