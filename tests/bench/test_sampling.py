"""What is derived from the times of the arms, and what is measured. Nothing here depends on how long anything takes."""

from __future__ import annotations

import pytest
import torch

from dimvida.bench import sampling
from dimvida.bench.arms import ARMS, SamplingArm
from dimvida.bench.case import matrix_products
from dimvida.bench.sampling import arm_times, measure, runs_of
from dimvida.records import to_json
from dimvida.results.benchmarks import Spread


def spread(ms: float) -> Spread:
    return Spread(ms, ms / 2, ms * 2, 3)


def test_what_is_derived_from_the_medians():
    times = {"eager-fp32": 100.0, "fused-bf16": 20.0, "floor fp32": 60.0, "floor bf16": 15.0}
    spreads = {name: spread(ms) for name, ms in times.items()}
    slow, fast = (arm_times(name, spreads, 5, 30) for name in ("eager-fp32", "fused-bf16"))
    assert fast.ms_per_step == Spread(4.0, 2.0, 8.0, 3)
    assert fast.views_per_second == pytest.approx(30 / 0.020)
    assert (slow.floor_fraction, fast.floor_fraction) == (0.6, 0.75)
    assert (slow.times_eager_fp32, fast.times_eager_fp32) == (1.0, 5.0)


def test_without_the_baseline_there_is_no_ratio():
    arm = arm_times("fused-fp32", {"fused-fp32": spread(20.0), "floor fp32": spread(15.0)}, 5, 30)
    assert to_json(arm)["times_eager_fp32"] is None


def test_a_measurement(case):
    arms = [ARMS["eager-fp32"], ARMS["fused-fp32"]]
    steps: list[str] = []
    result = measure(case, arms, 3, profiled=True, progress=steps.append)
    assert len(steps) == runs_of(arms, 3, profiled=True)
    assert [arm.name for arm in result.arms] == ["eager-fp32", "fused-fp32"]
    assert (result.batch, result.evaluations, result.missing_views, result.failed) == (9, 4, 27, [])
    (floor,) = result.floors
    assert floor.dtype == "fp32" and floor.ms_per_step.median > 0
    for arm in result.arms:
        assert arm.ms_per_trajectory.runs == 3
        assert 0 < arm.ms_per_trajectory.q1 <= arm.ms_per_trajectory.median <= arm.ms_per_trajectory.q3
        assert sum(arm.profile.shares.values()) == pytest.approx(1)
        assert arm.profile.shares["products"] > 0
    eager, fused = (arm.profile.beside_products for arm in result.arms)
    assert eager is None and fused < 1
    deviations = [arm.rms_from_eager_fp32 for arm in result.arms]
    assert deviations[0] is None and deviations[1] < 1e-4


def test_a_floor_is_made_in_the_precision_of_its_arm(case, monkeypatch):
    """A graph keeps the products that it was captured with, whatever holds when it is replayed."""
    made = []

    def noting(case, dtype):
        made.append(torch.get_float32_matmul_precision())
        return matrix_products(case, dtype)

    monkeypatch.setattr(sampling, "matrix_products", noting)
    before = torch.get_float32_matmul_precision()
    measured = measure(case, [ARMS["eager-fp32"], ARMS["eager-tf32"]], 1)
    assert measured.failed == [] and [floor.dtype for floor in measured.floors] == ["fp32", "tf32"]
    assert made == ["highest", "high"] and torch.get_float32_matmul_precision() == before


def test_an_arm_that_fails_stops_no_other(case):
    def build(case, dtype):
        raise RuntimeError("CUDA out of memory.\nTried to allocate")

    broken = SamplingArm("eager-bf16", "bf16", "", build)
    result = measure(case, [broken, ARMS["eager-fp32"]], 1)
    assert [arm.name for arm in result.arms] == ["eager-fp32"]
    assert [floor.dtype for floor in result.floors] == ["fp32"]
    assert to_json(result)["failed"] == [{"name": "eager-bf16", "reason": "RuntimeError: CUDA out of memory."}]
