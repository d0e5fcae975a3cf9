"""``scripts/gpu_measure`` and ``scripts/gpu_generate``: their plans, their pages, and on the CPU the whole of them."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from gpu_scripts import load_script, run_script

gpu_page, gpu_measure, gpu_generate = map(load_script, ("gpu_page", "gpu_measure", "gpu_generate"))
GPU = {"name": "GPU X", "capability": "9.0", "count": 1, "memory_gib": 80.0}


@pytest.fixture
def session(tmp_path: Path):
    """A session on a GPU that has not run anything."""
    for name in ("work", "out"):
        (tmp_path / name).mkdir()
    Session = sys.modules["gpu_session"].Session
    return Session("gpu_measure", tmp_path / "work", tmp_path / "out", GPU, "python", dict(os.environ), 0.0, 1.0)


def step(ms: float, runs: int = 7) -> dict:
    return {"median": ms, "q1": ms / 2, "q3": ms * 2, "runs": runs}


def batch_of(batch: int, steps: int, times: dict[str, float]) -> dict:
    """One table of ``dimvida bench sampling`` on a GPU."""
    arms = []
    for name, ms in times.items():
        fused = name.startswith("fused")
        operation = {
            "name": "aten::mm", "shapes": [[batch, 8], [8, 9], [batch, 9]], "calls_per_step": 4.0,
            "us_per_call": 12.5, "us_per_step": 50.0, "tflops": 640.0, "gb_per_s": 2100.0,
        }  # fmt: skip
        gaps = {"kernels_per_step": 33.0, "us_per_step": 21.0, "median_us": 0.9, "largest_us": 4.0}
        profile = {"shares": {"products": 0.8, "outside": 0.2}, "gaps": gaps} if fused else None
        arms.append({
            "name": name, "ms_per_step": step(ms), "views_per_second": 3 * batch / ms, "floor_fraction": 0.5 / ms,
            "peak_memory_bytes": 2**31, "rms_from_eager_fp32": 0.0123 if fused else None, "profile": profile,
            "operations": [operation] if fused else [],
        })  # fmt: skip
    floors = [{"dtype": "bf16", "ms_per_step": step(0.5)}]
    failed = [{"name": "compile-bf16", "reason": "RuntimeError: no"}]
    return {"batch": batch, "evaluations": steps, "arms": arms, "floors": floors, "failed": failed}


def cells(text: str, start: str) -> list[list[str]]:
    """The cells of all lines of tables that start so."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_names_of_files():
    assert gpu_page.slug("NVIDIA H200") == "nvidia-h200"
    assert gpu_page.slug("NVIDIA GeForce RTX 4090 (24 GB)") == "nvidia-geforce-rtx-4090-24-gb"


def test_the_page_compares_the_fused_engine_with_every_arm():
    results = [
        batch_of(64, 20, {"eager-fp32": 12.0, "compile-bf16": 3.0, "fused-bf16": 2.0}),
        batch_of(4096, 20, {"eager-fp32": 30.0, "fused-bf16": 1.0}),
        batch_of(64, 250, {"eager-fp32": 11.0, "fused-bf16": 2.5}),
    ]
    text = "\n".join(gpu_page.sampling_lines(results))
    assert text.index("## A step of the sampler, 20 steps") < text.index("## A step of the sampler, 250 steps")
    times, ratios, *_ = cells(text, "64")
    assert times == ["64", "12.0 (6.00 to 24.0, 7)", "3.00 (1.50 to 6.00, 7)", "2.00 (1.00 to 4.00, 7)",
                     "0.500 (0.250 to 1.00, 7)"]  # fmt: skip
    assert ratios == ["64", "25.0 %", "6.00", "1.50", "96", "2.00", "1.2e-02"]
    assert cells(text, "4096")[1] == ["4096", "50.0 %", "30.0", "", "12288", "2.00", "1.2e-02"]
    inside = "\n".join(gpu_page.profile_lines(results))
    assert inside.index("batch 4096") < inside.index("batch 64")
    assert "products 80.0 %" in inside and "33.0 kernels a step; between them 21.0 us" in inside
    assert "| `aten::mm` | 64x8 8x9 64x9 | 4.00 | 12.5 | 50.0 | 640 | 2100 |" in inside


def test_the_page_says_what_is_missing():
    results = [batch_of(64, 20, {"eager-fp32": 12.0})]
    lines = gpu_page.missing_lines([(64, 20), (64, 250)], results)
    assert lines[2:4] == ["- batch 64, 250 steps", "- `compile-bf16`, batch 64, 20 steps: RuntimeError: no"]
    assert "The fused engine did not run." in gpu_page.sampling_lines(results)
    results[0]["failed"] = []
    assert gpu_page.missing_lines([(64, 20)], results) == []


def test_what_a_run_of_generation_shows():
    use = {"gpu_percent": {"mean": 61.6}, "power_w": {"mean": 350.2}}
    run = {
        "format": "npy", "batch": 4096, "steps": 20, "objects": 100000, "seconds": 12.5, "views_per_second": 24000.4,
        "bytes": 2**31, "stages": {"read": 1.0, "sample": 5.0}, "share_of_wall": {"read": 0.08, "sample": 0.4},
        "bound_by": "packers", "utilisation": use, "lanes": {"packers": 0.97},
    }  # fmt: skip
    result = {
        "runs": [run, {**run, "format": "webdataset", "utilisation": None}], "network": None, "checkpoint": "ab" * 32,
        "solver": "ddim", "inputs": {"objects": 100000, "form": "npy", "workers": 8}, "filesystem": "ext4",
    }  # fmt: skip
    text = "\n".join(gpu_page.generation_lines(result))
    assert "checkpoint abababababab, ddim; 100000 inputs as npy, 8 reading" in text and "ext4" in text
    start = ["4096", "20", "100000", "12.5", "24000", "2.00", "8.0 %", "40.0 %", "packers"]
    assert cells(text, "npy") == [["npy", *start, "62", "350"]]
    assert cells(text, "webdataset") == [["webdataset", *start, "", ""]]


def test_training_steps_a_second():
    pieces = {"step": step(4.0, 20), "floor": step(2.0, 20), "draw": step(0.5), "adam": step(1.0), "average": None}
    result = {"results": [{"preset": "paper", "stage": "diffusion", "batch": 64, **pieces, "overhead": 0.5}]}
    text = "\n".join(gpu_page.training_lines(result))
    assert cells(text, "paper")[0][:5] == ["paper", "diffusion", "64", "250", "4.00 (2.00 to 8.00, 20)"]
    assert cells(text, "paper")[0][-2:] == ["", "50.0 %"]


def test_the_plan_measures_every_arm_batch_and_number_of_steps_within_nine_minutes(session):
    stages = gpu_measure.plan(session)
    assert tuple(stage.name for stage in stages) == gpu_measure.STAGES
    commands = {stage.name: " ".join(stage.command) for stage in stages}
    for name, steps in (("sampling-20", 20), ("sampling-250", 250)):
        assert f"--steps {steps} " in commands[name] and "--preset paper" in commands[name]
        for batch in ("1", "64", "1024", "4096", "16384"):
            assert re.search(rf"--batch \S*\b{batch}\b", commands[name])
        for arm in ("eager-fp32", "eager-tf32", "eager-bf16", "eager-bf16+graph", "compile-bf16", "fused-bf16"):
            assert arm in commands[name]
    assert "--profile" in commands["sampling-20"]
    # Even if the build takes all its time, each of the others gets what it needs.
    build = session.build_stages()
    assert sum(stage.reserve for stage in (*build, *stages)) + build[0].limit <= 8.75 * 60


def test_a_second_run_adds_what_the_first_had_no_time_for(session, tmp_path: Path):
    def leave(place: int, *batches: dict) -> None:
        (session.work / f"sampling-{place}.json").write_text(json.dumps({"results": batches}))

    first = gpu_measure.new_result(session, None)
    leave(0, batch_of(64, 20, {"fused-bf16": 2.0}))
    gpu_measure.save(session, first)
    file = session.out / "gpu-x.json"
    leave(0, batch_of(64, 20, {"fused-bf16": 3.0}))
    leave(1, batch_of(64, 250, {"fused-bf16": 2.5}))
    session.work.rename(tmp_path / "second")
    session.work = tmp_path / "second"
    second = gpu_measure.new_result(session, file)
    page = gpu_measure.save(session, second)
    measured = [
        (one["batch"], one["evaluations"], one["arms"][0]["ms_per_step"]["median"]) for one in second["sampling"]
    ]
    assert measured == [(64, 20, 3.0), (64, 250, 2.5)]  # what was measured again replaces the old
    assert len(second["runs"]) == 2 and page.count("## Stages of the run of") == 2
    assert page == (session.out / "gpu-x.md").read_text() and page.startswith("# GPU X\n")
    assert "- batch 4096, 250 steps" in page


@pytest.mark.parametrize("changed", ["gpu", "sources", "rehearsal"])
def test_results_of_different_things_are_not_mixed(session, tmp_path: Path, capsys, changed: str):
    result = gpu_measure.new_result(session, None)
    result["facts"][changed] = "another"
    file = tmp_path / "earlier.json"
    file.write_text(json.dumps(result))
    with pytest.raises(SystemExit) as stopped:
        gpu_measure.new_result(session, file)
    assert stopped.value.code == 2 and f"another {changed}" in capsys.readouterr().err
    file.write_text("{}")
    with pytest.raises(SystemExit):
        gpu_measure.new_result(session, file)
    assert "not a result of gpu_measure" in capsys.readouterr().err


def test_options_of_generation_reach_the_benchmark(session):
    options = SimpleNamespace(
        objects=100_000, batch="4096", steps="20", format="npy,webdataset", inputs="npy", workers=8, checkpoint=None
    )
    line = " ".join(gpu_generate.command(session, options, Path("x.json")))
    assert "--preset paper --objects 100000 --batch 4096 --steps 20 --workers 8" in line
    assert "--device cuda" in line and "--format npy,webdataset" in line
    options.checkpoint = Path("/runs/small")
    assert "--checkpoint /runs/small" in " ".join(gpu_generate.command(session, options, Path("x.json")))


def test_an_unknown_stage_is_refused():
    done = run_script("gpu_measure", "--rehearse", "--stages", "sampling")
    assert done.returncode == 2 and "unknown stage 'sampling'" in done.stderr


@pytest.mark.slow
def test_a_rehearsal_of_the_measurements(tmp_path: Path):
    done = run_script("gpu_measure", "--rehearse", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "log.txt").read_text()[-2000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.txt", "rehearsal.json", "rehearsal.md"]
    result = json.loads((tmp_path / "rehearsal.json").read_text())
    assert result["facts"]["rehearsal"] and result["facts"]["gpu"] is None
    assert {(one["batch"], one["evaluations"]) for one in result["sampling"]} == {(1, 2), (1, 3), (4, 2), (4, 3)}
    page = (tmp_path / "rehearsal.md").read_text()
    assert page.startswith("# Rehearsal on a CPU") and "No figure on this page is one of a GPU" in page
    for heading in (
        "A step of the sampler, 2 steps",
        "A step of the sampler, 3 steps",
        "From files to files",
        "Training",
    ):
        assert f"\n## {heading}\n" in page
    assert "Inside a step, `fused-fp32`, batch 4" in page and "`dimvida::group_norm_silu_`" in page
    for measured in result["sampling"]:
        fused = measured["arms"][-1]
        assert any(row[1] == gpu_page.percent(fused["floor_fraction"]) for row in cells(page, str(measured["batch"])))


@pytest.mark.slow
def test_a_rehearsal_of_generation(tmp_path: Path):
    done = run_script("gpu_generate", "--rehearse", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "log.txt").read_text()[-2000:]
    result = json.loads((tmp_path / "rehearsal-generation.json").read_text())
    assert [(run["format"], run["views"]) for run in result["generation"]["runs"]] == [("npy", 36), ("webdataset", 36)]
    page = (tmp_path / "rehearsal-generation.md").read_text()
    assert page.startswith("# Rehearsal on a CPU") and "| npy | 4 | 2 | 12 |" in page
