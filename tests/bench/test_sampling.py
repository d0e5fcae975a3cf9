"""What is derived from the times of the arms, and what is measured. Nothing here depends on how long anything takes."""

from __future__ import annotations

import pytest

from dimvida.bench.arms import ARMS, SamplingArm
from dimvida.bench.sampling import ArmResult, BatchResult, end_to_end_runs, measure, measure_end_to_end, runs_of
from dimvida.bench.timing import Spread


def result_of(times: dict[str, float], floors: dict[str, float]) -> BatchResult:
    def spread(ms: float) -> Spread:
        return Spread(ms, ms / 2, ms * 2, 3)

    arms = [ArmResult(name, spread(ms), ARMS[name].floor, None, None, None) for name, ms in times.items()]
    return BatchResult(10, 5, 30, 1.0, arms, {}, {name: spread(ms) for name, ms in floors.items()})


def test_what_is_derived_from_the_medians():
    result = result_of({"eager-fp32": 100.0, "fused-bf16": 20.0}, {"fp32": 60.0, "bf16": 15.0})
    slow, fast = result.arms
    assert result.ms_per_step(fast.trajectory) == Spread(4.0, 2.0, 8.0, 3)
    assert result.views_per_second(fast) == pytest.approx(30 / 0.020)
    assert (result.floor_fraction(slow), result.floor_fraction(fast)) == (0.6, 0.75)
    assert (result.times_baseline(slow), result.times_baseline(fast)) == (1.0, 5.0)


def test_without_the_baseline_there_is_no_ratio():
    result = result_of({"fused-fp32": 20.0}, {"fp32": 15.0})
    assert result.times_baseline(result.arms[0]) is None
    assert result.to_dict()["arms"][0]["times_eager_fp32"] is None


def test_a_measurement(case):
    arms = [ARMS["eager-fp32"], ARMS["fused-fp32"]]
    steps: list[str] = []
    result = measure(case, arms, 3, profiled=True, progress=steps.append)
    assert len(steps) == runs_of(arms, 3, profiled=True)
    assert [arm.name for arm in result.arms] == ["eager-fp32", "fused-fp32"]
    assert (result.batch, result.evaluations, result.missing_views, result.failed) == (9, 4, 27, {})
    assert set(result.floors) == {"fp32"} and result.floors["fp32"].median > 0
    for arm in result.arms:
        assert arm.trajectory.runs == 3
        assert 0 < arm.trajectory.q1 <= arm.trajectory.median <= arm.trajectory.q3
        assert sum(arm.profile.shares.values()) == pytest.approx(1)
        assert arm.profile.shares["products"] > 0
    deviations = [arm.deviation for arm in result.arms]
    assert deviations[0] is None and 0 <= deviations[1] < 1e-4


def test_an_arm_that_fails_stops_no_other(case):
    def build(case, dtype):
        raise RuntimeError("CUDA out of memory.\nTried to allocate")

    broken = SamplingArm("eager-bf16", "bf16", "", build)
    result = measure(case, [broken, ARMS["eager-fp32"]], 1)
    assert result.failed == {"eager-bf16": "RuntimeError: CUDA out of memory."}
    assert [arm.name for arm in result.arms] == ["eager-fp32"]
    assert set(result.floors) == {"fp32"}
    assert result.to_dict()["failed"] == [{"name": "eager-bf16", "reason": "RuntimeError: CUDA out of memory."}]


def test_the_whole_way_and_its_parts(model):
    steps: list[str] = []
    times, failed = measure_end_to_end(model, 3, 2, solver="ddim", steps=2, progress=steps.append)
    assert len(steps) == end_to_end_runs(2) and failed == {}
    assert {time.name: time.views for time in times} == {
        "encode": 3, "decode": 9, "generate, eager": 9, "generate, fused": 9,
    }  # fmt: skip
    assert all(time.time.runs == 2 for time in times)
