"""Whole models on a GPU, and the benchmark's arms that only a GPU has."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dimvida.bench import arms, stages
from dimvida.bench.arms import ARMS
from dimvida.bench.case import make_case, random_model
from dimvida.bench.sampling import measure
from dimvida.bench.timing import captured, profile
from dimvida.cli.app import run
from dimvida.diffusion.step_table import StepTable
from dimvida.models import AutoencoderConfig, ScoreConfig
from dimvida.models.checkpoint import CheckpointConfig, SamplingDefaults
from dimvida.sampling.multiview import load


@pytest.fixture
def case(device):
    config = CheckpointConfig(
        ("front", "right", "back", "left"),
        (),
        AutoencoderConfig(image_size=16, latent_dim=64, base=8),
        ScoreConfig(width=96, time_dim=16, groups=8),
        sampling=SamplingDefaults(x0_clip=4.0),
    )
    model = random_model(config).to(device)
    return make_case(model, 33, solver="repaint", steps=5, compile_mode="max-autotune-no-cudagraphs")


@pytest.mark.parametrize("backend", ["eager", "fused"])
def test_a_model_makes_the_pictures_that_it_makes_on_the_cpu(device, tiny_checkpoint: Path, backend: str):
    expect_same_pictures(tiny_checkpoint, device, backend)


@pytest.mark.parametrize("backend", ["eager", "fused"])
def test_so_does_one_of_grids_and_a_transformer(device, camera_checkpoint: Path, backend: str, exact_float32):
    expect_same_pictures(camera_checkpoint, device, backend)


def expect_same_pictures(checkpoint: Path, device: torch.device, backend: str) -> None:
    """In float32, up to less than a level of 255."""
    generator = torch.Generator().manual_seed(0)
    views = torch.randint(0, 256, (8, 4, 3, 16, 16), generator=generator, dtype=torch.uint8)
    known = torch.arange(4) == torch.arange(8)[:, None] % 4
    dtype = torch.float32 if backend == "fused" else None
    expected = load(checkpoint).generate(views, known, backend="eager")
    got = load(checkpoint, device).generate(views.to(device), known.to(device), backend=backend, dtype=dtype)
    assert got.device == device
    assert torch.equal(got.cpu()[known], views[known])
    error = (got.cpu().double() - expected.double())[~known].square().mean().sqrt()
    assert error < 1  # of 255 levels


def test_a_captured_step_computes_what_its_launches_compute(case, monkeypatch):
    monkeypatch.setattr(arms, "start", lambda case: (case.latents.clone(), torch.zeros_like(case.latents)))
    case = dataclasses.replace(case, table=StepTable(tuple(row._replace(d=0.0) for row in case.table.rows)))
    with torch.no_grad(), torch.cuda.device(case.device):
        expected = arms.eager(case, torch.float32)()
        trajectory = arms.eager_graph(case, torch.float32)
        torch.testing.assert_close(trajectory(), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(trajectory(), expected, rtol=1e-4, atol=1e-4)


def test_a_captured_step_draws_new_noise_at_every_replay(case):
    with torch.no_grad(), torch.cuda.device(case.device):
        trajectory = arms.eager_graph(case, torch.float32)
        first, second = trajectory(), trajectory()
    assert torch.equal(first[case.known], second[case.known])
    assert not torch.isclose(first[~case.known], second[~case.known]).all(-1).any()


def test_captured_work_keeps_what_it_reads(device):
    def doubling() -> tuple[Callable[[], None], torch.Tensor]:
        read, total = torch.full((2**22,), 2.0, device=device), torch.zeros(2**22, device=device)
        return captured(lambda: total.add_(read)).replay, total

    with torch.cuda.device(device):
        replay, total = doubling()
        torch.cuda.empty_cache()
        others = [torch.zeros(2**22, device=device) for _ in range(4)]
        total.zero_()
        replay()
    assert bool((total == 2).all()) and not any(bool(other.any()) for other in others)


def test_the_products_of_a_stage_are_those_of_its_graph(device, tiny_checkpoint: Path, monkeypatch):
    noted = []
    products_of = stages.products_of

    def noting(work: Callable[[], object]) -> Callable[[], None]:
        with stages._Recorder() as recorder:
            work()
        noted.append(len(recorder.calls))
        return products_of(work)

    monkeypatch.setattr(stages, "products_of", noting)
    for steps in (2, 5):
        stages.stage_floors(load(tiny_checkpoint, device), 3, steps)
    assert noted[0] == noted[3] and noted[2] == noted[5]
    assert noted[4] - noted[1] >= 3 * 5  # products of three evaluations more


def test_arms_on_a_gpu(case):
    names = ["eager-fp32", "eager-tf32", "eager-bf16", "eager-bf16+graph", "fused-fp32", "fused-bf16"]
    result = measure(case, [ARMS[name] for name in names], 2, profiled=True)
    assert result.failed == []
    assert [arm.name for arm in result.arms] == names
    assert {floor.dtype for floor in result.floors} == {"fp32", "tf32", "bf16"}
    for arm in result.arms:
        assert arm.peak_memory_bytes > 0
        assert arm.profile.shares["products"] > 0
    deviations = {arm.name: arm.rms_from_eager_fp32 for arm in result.arms}
    assert deviations["fused-fp32"] < 1e-4 < deviations["fused-bf16"]


def test_a_profile_sees_kernels(device):
    x = torch.randn(256, 256, device=device)
    with torch.cuda.device(device):
        found = profile(lambda: [x @ x for _ in range(6)], device, evaluations=3)
    assert found.shares["products"] > 0
    assert sum(operation.calls_per_step for operation in found.operations if operation.kind == "products") >= 2


def test_the_command(device, tmp_path: Path, capsys):
    file = tmp_path / "result.json"
    options = ["--preset", "tiny", "--device", str(device), "--steps", "2", "--repeats", "1", "--batch", "3"]
    options += ["--arms", "eager-fp32,eager-bf16+graph,fused-bf16", "--json", str(file)]
    assert run(["bench", "sampling", *options]) == 0, capsys.readouterr().err
    result = json.loads(file.read_text())
    assert result["hardware"]["gpu"]["name"] == torch.cuda.get_device_properties(device).name
    assert all(arm["peak_memory_bytes"] > 0 for arm in result["results"][0]["arms"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
