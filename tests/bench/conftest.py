from __future__ import annotations

import pytest
import torch

from dimvida.bench.subject import Case, Subject, make_case, random_model, subject_of
from dimvida.models.checkpoint import CheckpointConfig, SamplingDefaults
from dimvida.models.config import AutoencoderConfig, ScoreConfig


@pytest.fixture(scope="module", autouse=True)
def in_one_thread(request: pytest.FixtureRequest) -> None:
    """For every test of this folder, but not for what is timed."""
    if not request.config.getoption("benchmark_enable", False):
        request.getfixturevalue("one_thread")


@pytest.fixture(scope="session", params=["noise", "velocity"])
def subject(request: pytest.FixtureRequest) -> Subject:
    """A small network of each kind, with random weights."""
    config = CheckpointConfig(
        view_names=("front", "right", "back", "left"),
        classes=(),
        autoencoder=AutoencoderConfig(image_size=16, latent_dim=8, base=8),
        score=ScoreConfig(width=32, time_dim=16, groups=4, prediction=request.param),
        sampling=SamplingDefaults(x0_clip=4.0),
    )
    return subject_of(random_model(config), "small")


@pytest.fixture
def case(subject: Subject) -> Case:
    """Nine rows, four steps."""
    return make_case(subject, 9, solver="euler-maruyama", steps=4, device=torch.device("cpu"), compile_mode="default")
