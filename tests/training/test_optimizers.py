"""Which weights Muon takes, what its step does to them, and that a state of it goes on as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.networks import TRANSFORMER, tiny_transformer, weights

from dimvida.models.score_network import ScoreNetwork
from dimvida.training.config import load_preset
from dimvida.training.data import TrainingData
from dimvida.training.optimizers import make_optimizer

from .conftest import run, with_stage


@pytest.mark.parametrize("kind", ["transformer", "mlp"])
def test_muon_moves_all_directions_of_the_matrices_inside_by_as_much_as_adam(kind: str):
    torch.manual_seed(0)
    network = tiny_transformer(4, (3, 2, 2)) if kind == "transformer" else ScoreNetwork(4, 12, 16, 8, 2)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    for weight in network.parameters():
        weight.grad = torch.randn_like(weight)
        if weight.ndim == 2:  # no direction of nearly nothing, which no number of iterations would bring to 1
            u, s, v = torch.linalg.svd(weight.grad, full_matrices=False)
            weight.grad = u * torch.linspace(3, 1, len(s)) @ v
    make_optimizer("muon", network, 0.01).step()
    for name, weight in network.named_parameters():
        step = (before[name] - weight.detach()) / 0.01
        if "blocks." in name and weight.ndim == 2:
            size = torch.linalg.svdvals(step) / (0.2 * max(weight.shape) ** 0.5)
            assert size.min() > 0.6 and size.max() < 1.3, name  # five iterations bring them near 1, no nearer
        else:
            torch.testing.assert_close(step, weight.grad.sign(), atol=1e-3, rtol=0)  # Adam's first step


def test_a_training_with_muon_goes_on_where_it_stopped(tmp_path: Path, data: TrainingData):
    config = load_preset("tiny", [*TRANSFORMER, "diffusion_stage.optimizer=muon", "diffusion_stage.compile=false"])
    config = with_stage(with_stage(config, "autoencoder", steps=5), "diffusion", steps=12, save_every=5)
    assert run(tmp_path / "whole", config, data)
    for resume, stop in ((False, 9), (True, 3)):  # in the diffusion, and in it again
        assert not run(tmp_path / "parts", config, data, stop=stop, resume=resume)
    assert run(tmp_path / "parts", config, data, resume=True)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    assert run(tmp_path / "adam", with_stage(config, "diffusion", optimizer="adam"), data)
    assert weights(tmp_path / "adam")[1] != weights(tmp_path / "whole")[1]
