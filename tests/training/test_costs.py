"""What a training would cost, found without its memory."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from dimvida.models.checkpoint import CheckpointConfig
from dimvida.training.config import PRESETS, load_preset
from dimvida.training.costs import forecast, items_of, step_costs


@pytest.mark.parametrize("preset", PRESETS)
def test_networks_are_those_that_would_be_trained(preset: str):
    config = load_preset(preset)
    with torch.device("meta"):
        networks = CheckpointConfig(("a", "b", "c"), (), config.autoencoder, config.score).build()
    costs = step_costs(config, 3)
    for network, cost in zip(networks, (costs["autoencoder"], costs["diffusion"]), strict=True):
        parameters = sum(weight.numel() for weight in network.parameters())
        assert cost.parameters == parameters
        # Each weight is multiplied at least once forward and twice backward, with every row of the batch.
        assert cost.operations > 2 * 3 * parameters and cost.memory > 16 * parameters


def test_memory_is_what_a_real_step_keeps():
    config = load_preset("tiny", ["autoencoder.image_size=16", "autoencoder.base=8", "autoencoder_stage.ema=0.0"])
    autoencoder, _ = CheckpointConfig(("a", "b"), (), config.autoencoder, config.score).build()
    weights = {weight.data_ptr() for weight in autoencoder.parameters()}
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.setdefault(id(tensor), tensor), lambda t: t):
        autoencoder(torch.rand(config.autoencoder_stage.batch, 3, 16, 16))
    real = sum(tensor.numel() * tensor.element_size() for tensor in kept.values() if tensor.data_ptr() not in weights)
    parameters = sum(weight.numel() for weight in autoencoder.parameters())
    assert step_costs(config, 2)["autoencoder"].memory == pytest.approx(16 * parameters + real, rel=0.1)


def test_costs_grow_with_the_batch():
    one, two = (
        step_costs(load_preset("tiny", [f"{stage}_stage.batch={batch}" for stage in ("autoencoder", "diffusion")]), 4)
        for batch in (8, 16)
    )
    for stage in ("autoencoder", "diffusion"):
        assert two[stage].operations == pytest.approx(2 * one[stage].operations, rel=0.01)
        assert one[stage].memory < two[stage].memory < 2 * one[stage].memory


def test_items_are_views_and_objects_with_several(data, fast_config):
    present = data.present.clone()
    present[0, 1:] = False
    data.present, before = present, data.present
    try:
        assert items_of("autoencoder", data) == 4 * len(present) - 3
        assert items_of("diffusion", data) == len(present) - 1
        lines = list(forecast(fast_config, data, ["diffusion"]))
    finally:
        data.present = before
    assert not [line for line in lines if line.startswith("autoencoder")]
    (diffusion,) = [line for line in lines if line.startswith("diffusion")]
    assert "; 120 steps of 16 objects, " in diffusion


def test_large_numbers_have_no_exponents(data, fast_config):
    steps = replace(fast_config.diffusion_stage, steps=10**6)
    config = replace(fast_config, diffusion_stage=steps)
    *_, diffusion, _ = forecast(config, data, ["diffusion"])
    assert re.search(r", \d{1,3}(,\d{3})+ times over the data", diffusion)
