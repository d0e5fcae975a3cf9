"""``dimvida bench sampling`` and ``training``."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.commands import PATIENCE
from helpers.networks import FAST
from helpers.networks import options as set_options

from dimvida.bench.arms import ARMS

QUICK = ("--preset", "tiny", "--device", "cpu", "--steps", 2, "--repeats", 1)


@pytest.fixture
def bench(dimvida, tmp_path: Path):
    """Runs the command with a result file; returns the process's result and the file's content."""

    def call(*options: object):
        file = tmp_path / "result.json"
        done = dimvida("bench", "sampling", "--json", file, *options)
        return done, json.loads(file.read_text()) if file.exists() else None

    return call


def test_a_table_and_json(bench, narrow_terminal: None):
    done, result = bench(*QUICK, "--batch", "3,8", "--arms", "fused-fp32,eager-fp32,eager-bf16")
    assert done.code == 0, done.err
    assert result["benchmark"] == "sampling" and result["schema"] == 3 and result["complete"]
    assert result["versions"]["torch"] == torch.__version__
    assert result["hardware"]["threads"] == torch.get_num_threads() and result["hardware"]["gpu"] is None
    assert result["settings"]["steps"] == [2] and result["settings"]["solver"] == "euler-maruyama"
    assert max(map(len, done.out.splitlines())) <= 80
    assert [batch["batch"] for batch in result["results"]] == [3, 8]
    for batch in result["results"]:
        arms = {arm["name"]: arm for arm in batch["arms"]}
        assert list(arms) == ["eager-fp32", "eager-bf16", "fused-fp32"]
        floors = {floor["dtype"]: floor["ms_per_step"]["median"] for floor in batch["floors"]}
        assert set(floors) == {"fp32", "bf16"} and min(floors.values()) > 0
        baseline = arms["eager-fp32"]["ms_per_trajectory"]["median"]
        for arm in arms.values():
            step, trajectory = arm["ms_per_step"], arm["ms_per_trajectory"]
            assert 0 < trajectory["q1"] <= trajectory["median"] <= trajectory["q3"]
            assert step["median"] == pytest.approx(trajectory["median"] / 2)
            assert arm["views_per_second"] == pytest.approx(3 * batch["batch"] / trajectory["median"] * 1e3)
            assert arm["times_eager_fp32"] == pytest.approx(baseline / trajectory["median"])
            assert arm["floor_fraction"] == pytest.approx(floors[arm["floor"]] / step["median"])
            assert f"{arm['times_eager_fp32']:.2f}" in done.out
        assert arms["fused-fp32"]["rms_from_eager_fp32"] < 1e-4


def test_every_arm_runs_or_says_why_not(bench):
    done, result = bench(*QUICK, "--batch", 2, "--arms", "eager-fp32,eager-tf32")
    assert done.code == 0, done.err
    assert [arm["name"] for arm in result["arms"]] == list(ARMS)
    ran = {arm["name"] for arm in result["results"][0]["arms"]}
    for arm in result["arms"]:
        assert bool(arm["not_run"]) == (arm["name"] not in ran)
        if arm["not_run"]:
            assert re.search(rf"not run:[^:]*\b{re.escape(arm['name'])}\b", done.out)
    assert "needs cuda" in next(arm["not_run"] for arm in result["arms"] if arm["name"] == "eager-tf32")


def test_a_type_brings_its_arms_and_the_baseline(bench, monkeypatch):
    done, result = bench(*QUICK, "--batch", 2, "--dtype", "tf32")
    assert done.code == 0, done.err
    assert [arm["name"] for arm in result["results"][0]["arms"]] == ["eager-fp32"]
    reasons = {arm["name"]: arm["not_run"] for arm in result["arms"]}
    assert reasons["fused-fp32"] == "not asked for" and "needs cuda" in reasons["eager-tf32"]


def test_a_profile_of_a_checkpoint(bench, tiny_checkpoint: Path):
    options = ("--checkpoint", tiny_checkpoint, "--device", "cpu", "--steps", 2, "--repeats", 1, "--batch", 2)
    done, result = bench(*options, "--arms", "fused-fp32", "--solver", "ddim", "--profile")
    assert done.code == 0, done.err
    assert result["settings"]["network"].startswith("checkpoint ")
    batch = result["results"][0]
    arm = batch["arms"][0]
    assert sum(arm["profile"]["shares"].values()) == pytest.approx(1)
    assert any(operation["kind"] == "products" for operation in arm["profile"]["operations"])
    assert arm["times_eager_fp32"] is None


def test_several_numbers_of_steps_and_a_limit(bench):
    options = ("--preset", "tiny", "--device", "cpu", "--batch", "2,3", "--steps", "2,5", "--repeats", 4)
    done, result = bench(*options, "--arms", "fused-fp32", "--profile", "--seconds", 0)
    assert done.code == 0, done.err
    assert result["complete"] and result["settings"]["steps"] == [2, 5]
    tables = result["results"]
    assert [(table["batch"], table["evaluations"]) for table in tables] == [(2, 2), (2, 5), (3, 2), (3, 5)]
    for table in tables:
        (arm,) = table["arms"]
        assert arm["ms_per_trajectory"]["runs"] == 1  # of the four that there would be with more time
        profiled = table["evaluations"] == 2
        assert (arm["profile"] is not None) == profiled
    assert "batch 3, 5 steps" in done.out and "modulated_norm_" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_threads_are_set_and_put_back(bench):
    before = torch.get_num_threads()
    done, result = bench(*QUICK, "--batch", 2, "--arms", "eager-fp32", "--threads", before + 1)
    assert done.code == 0, done.err
    assert result["hardware"]["threads"] == before + 1
    assert torch.get_num_threads() == before


def test_defaults_on_a_cpu():
    from dimvida.cli.bench import BATCHES

    assert BATCHES["cpu"] == (64, 256)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--batch", "0"), "--batch 0"),
        (("--batch", "2,x"), "--batch 2,x"),
        (("--steps", "0"), "--steps 0"),
        (("--steps", "2,few"), "--steps 2,few"),
        (("--repeats", "0"), "--repeats"),
        (("--solver", "heun"), "unknown solver 'heun'"),
        (("--arms", "fast"), "--arms fast: choose from eager-fp32, "),
        (("--arms", "eager-tf32"), "eager-tf32: needs cuda"),
        (("--arms", "eager-fp32", "--dtype", "tf32"), "--arms or --dtype"),
        (("--dtype", "int8"), "--dtype int8: choose from "),
        (("--preset", "huge"), "unknown preset 'huge'"),
        (("--preset", "tiny", "--checkpoint", "bundled"), "--preset or --checkpoint"),
        (("--checkpoint", "nowhere"), "nowhere"),
        (("--device", "abacus"), "--device abacus"),
        (("--compile-mode", "fastest"), "--compile-mode"),
    ],
)
def test_bad_options(bench, options, named):
    preset = () if {"--preset", "--checkpoint"} & set(options) else ("--preset", "tiny")
    device = () if "--device" in options else ("--device", "cpu")
    done, result = bench(*preset, *device, *options)
    assert named in done.refusal()
    assert result is None and done.out == ""


def test_a_result_file_that_cannot_be_written_is_refused_at_once(dimvida, tmp_path: Path):
    done = dimvida("bench", "sampling", *QUICK, "--json", tmp_path / "nowhere" / "result.json")
    assert done.code == 2 and done.out == ""
    assert "--json" in done.errors[0]


@pytest.mark.slow
def test_an_interruption_keeps_what_is_done(tmp_path: Path):
    file = tmp_path / "result.json"
    # With so many steps the second batch takes hours, however fast the machine: the signal always comes in the middle.
    options = [*QUICK, "--steps", 1000, "--batch", "2,100000", "--arms", "eager-fp32", "--json", file]
    command = [sys.executable, "-m", "dimvida", "bench", "sampling", *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out = ""
    while "floor fp32" not in out:  # the last line of the first table
        line = process.stdout.readline()
        assert line, process.stderr.read()
        out += line
    while not file.exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert re.search(r"eager-fp32 +[\d.]+", out)
    result = json.loads(file.read_text())
    assert not result["complete"] and [batch["batch"] for batch in result["results"]] == [2]


def test_steps_of_a_training_are_printed_and_written(dimvida, tmp_path: Path):
    path = tmp_path / "training.json"
    result = dimvida("bench", "training", "--preset", "tiny", "--repeats", 1, "--json", path, *set_options(FAST))
    assert result.code == 0, result
    table = [line.split() for line in result.out.splitlines() if line.strip().startswith("tiny")]
    assert [row[:3] for row in table] == [["tiny", "autoencoder", "64"], ["tiny", "diffusion", "64"]]
    assert max(map(len, result.out.splitlines())) <= 80
    written = json.loads(path.read_text())
    assert [row["stage"] for row in written["results"]] == ["autoencoder", "diffusion"]
    assert written["settings"]["overrides"] == list(FAST) and written["hardware"]["cpu"]
    for row, shown in zip(written["results"], table, strict=True):
        assert row["overhead"] > -1 and shown[-2] == f"{100 * row['overhead']:.1f}"


def test_bad_options_of_a_training_get_one_line(dimvida, tmp_path: Path):
    for arguments, named in (
        (["--stage", "both"], "--stage both"),
        (["--preset", "huge"], "'huge'"),
        (["--set", "score.widht=3"], "'widht'"),
        (["--json", tmp_path / "missing" / "x.json"], "--json"),
    ):
        assert named in dimvida("bench", "training", *arguments).refusal()
