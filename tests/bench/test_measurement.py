"""Arithmetic of the measurements. Nothing here depends on how long anything takes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from dimvida.bench import machine
from dimvida.bench.arms import ARMS, Arm
from dimvida.bench.floor import matrix_products
from dimvida.bench.profile import KINDS, OTHER, OUTSIDE, Operation, kind_of, profile, summarise
from dimvida.bench.sampling import ArmResult, BatchResult, measure, runs_of
from dimvida.bench.subject import matrix_layers
from dimvida.bench.timing import Spread, interleaved

CPU = torch.device("cpu")


def test_quartiles():
    assert Spread.of([5.0, 1.0, 2.0, 4.0, 3.0]) == Spread(3.0, 2.0, 4.0, 5)
    assert Spread.of([1.0, 2.0]) == Spread(1.5, 1.25, 1.75, 2)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0, 1)
    assert Spread(3.0, 2.0, 4.0, 5).scaled(0.5) == Spread(1.5, 1.0, 2.0, 5)


def test_arms_take_turns():
    calls: list[str] = []
    works = {name: lambda name=name: calls.append(name) for name in "abcd"}
    seconds = interleaved(works, 6, CPU)
    rounds = [calls[start : start + 4] for start in range(0, 24, 4)]
    assert all(sorted(round_) == list("abcd") for round_ in rounds)
    assert len({tuple(round_) for round_ in rounds}) > 1  # and not always in the same order
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys("abcd", 6)
    assert all(value > 0 for values in seconds.values() for value in values)


def test_a_limit_ends_after_the_round_at_hand():
    calls: list[str] = []
    works = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = interleaved(works, 6, CPU, limit=0)
    assert sorted(calls) == ["a", "b"] and all(len(values) == 1 for values in seconds.values())


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


def test_floor_does_the_products_of_every_evaluation(case, monkeypatch):
    done = []
    real = torch.mm
    monkeypatch.setattr(torch, "mm", lambda x, w, out: done.append((x, w, real(x, w, out=out))))
    matrix_products(case, torch.float32)()
    layers = matrix_layers(case.subject.network)
    assert len(done) == len(layers) * case.table.evaluations
    for (x, w, out), layer in zip(done, layers, strict=False):
        assert x.shape == (9, layer.in_features) and w.shape == (layer.in_features, layer.out_features)
        assert w.data_ptr() == layer.weight.data_ptr()
        torch.testing.assert_close(out, x @ layer.weight.t())


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

    broken = Arm("eager-bf16", torch.bfloat16, "", build)
    result = measure(case, [broken, ARMS["eager-fp32"]], 1)
    assert result.failed == {"eager-bf16": "RuntimeError: CUDA out of memory."}
    assert [arm.name for arm in result.arms] == ["eager-fp32"]
    assert set(result.floors) == {"fp32"}
    assert result.to_dict()["failed"] == [{"name": "eager-bf16", "reason": "RuntimeError: CUDA out of memory."}]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::addmm", "products"),
        ("aten::mm", "products"),
        ("mkldnn::_linear_pointwise", "products"),
        ("aten::linear", "products"),
        ("nvjet_sm90_tst_128x256_64x4_2x1_v_bz_coopA_TNT", "products"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64", "products"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816>", "products"),
        ("triton_tem_fused_addmm_3", "products"),
        ("aten::native_group_norm", "norm"),
        ("dimvida::group_norm_silu", "norm"),
        ("void at::native::RowwiseMomentsCUDAKernel<float>", "norm"),
        ("aten::silu", "norm"),
        ("dimvida::masked_step_", "step"),
        ("dimvida::philox_normal_", "step"),
        ("aten::normal_", "step"),
        ("aten::cat", "copies"),
        ("aten::copy_", "copies"),
        ("Memcpy DtoD (Device -> Device)", "copies"),
        ("aten::where", "other"),
        ("aten::add", "other"),
        ("aten::clamp", "other"),
    ],
)
def test_kinds_of_work(name: str, kind: str):
    assert kind_of(name) == kind


def test_shares_of_a_step():
    operations = [Operation("mm", "products", 6.0, 1), Operation("norm", "norm", 2.0, 1)]
    shares = summarise(operations, 10.0).shares
    assert shares == pytest.approx(dict.fromkeys((*KINDS, OTHER), 0.0) | {"products": 0.6, "norm": 0.2, OUTSIDE: 0.2})
    # Kernels side by side: nothing is outside, and the shares are those of the kernels.
    shares = summarise(operations, 4.0).shares
    assert (shares["products"], shares[OUTSIDE]) == (0.75, 0)
    assert summarise(operations, 10.0).operations[0].name == "mm"


def test_a_profile_sees_the_operations():
    x = torch.randn(64, 64)
    found = profile(lambda: [x @ x for _ in range(6)], CPU, evaluations=3)
    products = next(operation for operation in found.operations if operation.name == "aten::mm")
    assert (products.kind, products.calls_per_step) == ("products", 2)


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path, monkeypatch):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"x / ext4 rw 0 0\ny {tmp_path} tmpfs rw 0 0\nz {tmp_path}-other xfs rw 0 0\n")
    monkeypatch.setattr(machine, "MOUNTS", mounts)
    assert machine.filesystem(tmp_path / "deeper") == "tmpfs"
    assert machine.filesystem(Path("/")) == "ext4"
    monkeypatch.setattr(machine, "MOUNTS", tmp_path / "nowhere")
    assert machine.filesystem(tmp_path) is None


def test_the_processors_flags(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    assert machine.cpu_flags() == frozenset()  # not on Linux
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2\n\nprocessor\t: 1\n")
    assert machine.cpu_flags() == {"fpu", "avx2"}
    assert machine.hardware(CPU)["cpu"] == "Some CPU"
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: asimd bf16\n")
    assert machine.cpu_flags() == {"asimd", "bf16"}


def test_the_commit_of_a_checkout(tmp_path: Path):
    assert machine.commit(tmp_path) is None

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "one")
    git("tag", "v1")
    assert machine.commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("2")
    assert machine.commit(tmp_path) == git("rev-parse", "HEAD") + "-dirty"
