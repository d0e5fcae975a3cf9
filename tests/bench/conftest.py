from __future__ import annotations

import pytest

from dimvida.bench.case import Case, make_case, random_model
from dimvida.models import AutoencoderConfig, ScoreConfig
from dimvida.models.checkpoint import CheckpointConfig, SamplingDefaults
from dimvida.sampling.multiview import MultiViewModel


@pytest.fixture(scope="module", autouse=True)
def in_one_thread(request: pytest.FixtureRequest) -> None:
    """For every test of this folder, but not for what is timed."""
    if not request.config.getoption("benchmark_enable", False):
        request.getfixturevalue("one_thread")


@pytest.fixture(scope="session", params=["noise", "velocity"])
def model(request: pytest.FixtureRequest) -> MultiViewModel:
    """Small networks with random weights, for each kind of prediction."""
    config = CheckpointConfig(
        view_names=("front", "right", "back", "left"),
        classes=(),
        autoencoder=AutoencoderConfig(image_size=16, latent_dim=8, base=8),
        score=ScoreConfig(width=32, time_dim=16, groups=4, prediction=request.param),
        sampling=SamplingDefaults(x0_clip=4.0),
    )
    return random_model(config)


@pytest.fixture
def case(model: MultiViewModel) -> Case:
    """Nine rows, four steps."""
    return make_case(model, 9, solver="euler-maruyama", steps=4)
