"""Every arm runs the same trajectory."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dimvida.bench import arms
from dimvida.bench.arms import ARMS, BASELINE, why_not
from dimvida.bench.case import make_case
from dimvida.diffusion.solvers import SOLVERS
from dimvida.diffusion.step_table import StepTable
from dimvida.sampling import sample

CPU = torch.device("cpu")


def without_noise(case):
    """The same steps without drawn noise: the arms draw different numbers."""
    rows = tuple(row._replace(d=0.0) for row in case.table.rows)
    return dataclasses.replace(case, table=StepTable(rows))


def same_start(monkeypatch, case):
    """All arms start from the latents themselves."""
    monkeypatch.setattr(arms, "start", lambda case: (case.latents.clone(), torch.zeros_like(case.latents)))


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_baseline_computes_what_sample_computes(model, monkeypatch, solver: str):
    case = make_case(model, 9, solver=solver, steps=6)
    same_start(monkeypatch, case)
    zeros = torch.zeros(len(case.table), *case.latents.shape)
    expected = case.sample(case.network, "eager", noise=zeros)
    case = without_noise(case)
    with torch.no_grad():
        got = arms.eager(case, torch.float32)()
        low = arms.eager(case, torch.bfloat16)()
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert got.dtype == low.dtype == torch.float32
    assert torch.equal(low[case.known], case.latents[case.known])
    assert 0 < (low - expected).abs().mean() < 0.1


@pytest.mark.parametrize("solver", ["sde-dpmpp-2m", "repaint"])
def test_coefficients_on_the_device_are_the_same_coefficients(model, monkeypatch, solver: str):
    case = make_case(model, 9, solver=solver, steps=5)
    same_start(monkeypatch, case)
    case = without_noise(case)
    step = arms.device_step(arms.plain_step(case, torch.float32))
    with torch.no_grad():
        expected = arms.eager(case, torch.float32)()
        x, x0 = arms.start(case)
        for row, coefficients in zip(case.table.rows, arms.device_table(case), strict=True):
            x, x0 = step(x, x0, coefficients, row.evaluate)
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["velocity"], indirect=True)
def test_the_compiled_step_computes_the_same(case, monkeypatch):
    same_start(monkeypatch, case)
    case = without_noise(case)
    with torch.no_grad():
        expected, got = arms.eager(case, torch.float32)(), arms.compiled(case, torch.float32)()
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_the_baseline_draws_noise_of_its_own(case):
    with torch.no_grad():
        trajectory = ARMS[BASELINE].build(case, torch.float32)
        first, second = trajectory(), trajectory()
    assert torch.equal(first[case.known], second[case.known])
    assert not torch.isclose(first[~case.known], second[~case.known]).all(-1).any()


def test_the_fused_arm_is_what_users_call(case):
    expected = sample(
        case.network, case.latents, case.known, steps=4, x0_clip=4.0, prediction=case.prediction, backend="eager"
    )
    torch.testing.assert_close(ARMS["fused-fp32"].build(case, torch.float32)(), expected, rtol=1e-4, atol=1e-4)


def test_what_does_not_run_on_a_cpu_says_why(monkeypatch):
    monkeypatch.setattr(arms, "default_dtype", lambda device: torch.float32)
    reasons = {name: why_not(arm, CPU, asked=False) for name, arm in ARMS.items()}
    assert {name for name, reason in reasons.items() if reason is None} == {"eager-fp32", "compile-fp32", "fused-fp32"}
    assert "needs cuda" in reasons["eager-bf16+graph"]
    assert "only emulates" in reasons["fused-bf16"]
    assert why_not(ARMS["fused-bf16"], CPU, asked=True) is None
    assert why_not(ARMS["eager-tf32"], CPU, asked=True) is not None


def test_a_cpu_with_bfloat16_runs_it_unasked(monkeypatch):
    monkeypatch.setattr(arms, "default_dtype", lambda device: torch.bfloat16)
    assert why_not(ARMS["eager-bf16"], CPU, asked=False) is None


def test_without_kernels_nothing_is_called_fused(monkeypatch):
    monkeypatch.setattr(arms.ops, "native_available", lambda kind="cpu": False)
    assert "no native kernels" in why_not(ARMS["fused-fp32"], CPU, asked=True)
    assert why_not(ARMS["eager-fp32"], CPU, asked=True) is None


def test_precision_is_put_back():
    before = torch.get_float32_matmul_precision()
    with arms.product_precision("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before
