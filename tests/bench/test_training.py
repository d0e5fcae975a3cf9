"""The pieces of a training step that are timed are those of the loop."""

from __future__ import annotations

import pytest
import torch
from helpers.networks import FAST

from dimvida.bench.training import PIECES, _pieces, _stage, measure_step, runs_of
from dimvida.records import to_json
from dimvida.results.benchmarks import Spread, StepTimes
from dimvida.training.config import load_preset

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["autoencoder", "diffusion"])
def test_a_step_trains_and_its_floor_does_not(name: str):
    stage = _stage(load_preset("tiny", FAST), name, 5, CPU)
    pieces = _pieces(stage)
    assert tuple(pieces) == PIECES

    def weights() -> list[torch.Tensor]:
        return [weight.detach().clone() for weight in stage.objective.network.parameters()]

    before = weights()
    pieces["floor"]()
    assert all(map(torch.equal, weights(), before))
    assert all(weight.grad is not None for weight in stage.objective.network.parameters())
    pieces["adam"]()
    assert not all(map(torch.equal, weights(), before))
    before = weights()
    pieces["step"]()
    assert stage.step == 1 and len(stage.window) == 1 and not stage.unread
    assert not all(map(torch.equal, weights(), before))
    average = [weight.clone() for weight in stage.averaged_network.parameters()]
    pieces["adam"]()
    pieces["average"]()
    assert not all(map(torch.equal, stage.averaged_network.parameters(), average))


def test_measured_on_both_stages():
    config, shown = load_preset("tiny", [*FAST, "diffusion_stage.ema=0.0"]), []
    times = [measure_step(config, name, 4, CPU, 2, shown.append) for name in ("autoencoder", "diffusion")]
    assert times[0].average is not None and times[1].average is None
    assert len(shown) == 18 < 2 * runs_of(2)
    for row in times:
        result = to_json(row)
        assert result["step_over_floor"] == result["step"]["median"] / result["floor"]["median"] > 0
        assert (result["batch"], result["floor"]["runs"]) == (4, 2) and result["parameters"] > 1000


def test_the_overhead_is_what_neither_floor_nor_optimiser_needs():
    floor, step, draw, adam, average = (Spread(value, value, value, 1) for value in (100.0, 150.0, 3.0, 25.0, 15.0))
    assert StepTimes("diffusion", 1, 64, floor, step, draw, adam, average).overhead == pytest.approx(0.1)
    assert StepTimes("diffusion", 1, 64, floor, step, draw, adam, None).overhead == pytest.approx(0.25)
