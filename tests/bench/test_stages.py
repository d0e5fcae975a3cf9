"""Floors of stages: the products that a stage asks the library for, as many and as large, and nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from dimvida.bench import stages as stages_module
from dimvida.bench.stages import _Recorder, products_of, stage_floors
from dimvida.sampling.multiview import load


def test_products_are_those_of_the_work():
    x = torch.randn(6, 4)
    image = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    linear, convolution = torch.nn.Linear(4, 5), torch.nn.Conv2d(3, 4, 3, stride=2)
    done = []

    def work() -> None:
        with torch.no_grad():
            done.append((linear(x).relu(), torch.mm(x.t(), x), convolution(image).sin()))

    products = products_of(work)
    with _Recorder() as again:
        products()
    with _Recorder() as first:
        work()
    assert len(done) == 2
    assert [(call[0], call[1]) for call in again.calls] == [(call[0], call[1]) for call in first.calls]
    names = Counter(call[0].overloadpacket.__name__ for call in again.calls)
    assert names == {"addmm": 1, "mm": 1, "convolution": 1}


def test_every_stage_has_a_floor(tiny_checkpoint: Path, one_thread, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stages_module, "REPEATS", 2)
    stages = stage_floors(load(tiny_checkpoint), 3, 2)
    assert [(one.stage, one.batch, one.steps) for one in stages] == [
        ("encode", 3, None),
        ("sample", 3, 2),
        ("decode", 3, None),
    ]
    assert all(one.ms.runs == one.floor_ms.runs == one.eager_ms.runs == 2 for one in stages)
    for one in stages:
        assert one.speed_up == one.eager_ms.median / one.ms.median > 0
        assert one.of_floor == one.floor_ms.median / one.ms.median > 0
