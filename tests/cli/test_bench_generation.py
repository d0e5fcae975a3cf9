"""``dimvida bench generation`` on small data with a model of random weights."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from dimvida.bench.machine import filesystem


@pytest.fixture
def bench(dimvida, tiny_checkpoint: Path, objects: Path, tmp_path: Path):
    """Runs the command and returns its JSON."""

    def call(*options: object) -> dict:
        result = dimvida(
            "bench",
            "generation",
            "--checkpoint",
            tiny_checkpoint,
            "--data",
            objects,
            "--json",
            tmp_path / "b.json",
            *options,
        )
        assert result.code == 0, result
        return json.loads((tmp_path / "b.json").read_text())

    return call


def test_rates_shares_the_plain_loop_and_its_quality(bench):
    result = bench("--objects", 10, "--batch", "4,8", "--loop", 3, "--compared", 3)
    runs = result["runs"]
    assert [(run["format"], run["batch"]) for run in runs] == [
        *((form, batch) for batch in (4, 8) for form in ("imagefolder", "webdataset", "npy")),
        ("plain loop", 64),
    ]
    for run in runs:
        assert (run["objects"], run["views"]) == ((3, 9) if run["format"] == "plain loop" else (10, 30))
        assert run["views_per_second"] == pytest.approx(run["views"] / run["seconds"])
        shares = {name: seconds / run["seconds"] for name, seconds in run["stages"].items()}
        assert run["share_of_wall"] == pytest.approx(shares) and max(shares.values()) > 0
        assert run["bytes"] > 30 * 16 * 16 if run["format"] == "npy" else run["bytes"] > 0
        looked = run["format"] != "plain loop"
        assert run["memory_bytes"] > 10 * 2**20 and run["memory_growth"] > -1 if looked else not run["memory_bytes"]
    busy = sum(share for name, share in runs[0]["share_of_wall"].items() if name not in ("sample", "decode"))
    assert runs[0]["other_than_sample_and_decode"] == pytest.approx(busy)
    assert [(one["stage"], one["batch"]) for one in result["stages"]] == [
        (stage, batch) for batch in (4, 8) for stage in ("encode", "sample", "decode")
    ]
    assert {name: score["views"] for name, score in result["quality"].items()} == {"plain loop": 9, "generate": 9}
    assert result["versions"]["dimvida"] and result["hardware"]["cpu"]
    assert result["filesystem"] == filesystem(Path(tempfile.gettempdir()))  # None in a chroot
    for run in runs:
        assert run["bound_by"] == max(run["lanes"], key=run["lanes"].get)


def test_every_number_of_steps_is_timed(bench):
    runs = bench("--objects", 4, "--batch", 4, "--format", "npy", "--steps", "2,5", "--loop", 0, "--compared", 0)[
        "runs"
    ]
    assert [(run["steps"], run["format"], run["batch"]) for run in runs] == [(2, "npy", 4), (5, "npy", 4)]


def test_array_inputs_reading_processes_and_a_presets_model(dimvida, objects: Path, tmp_path: Path):
    file = tmp_path / "result.json"
    options = ["--data", objects, "--inputs", "npy", "--workers", 1, "--preset", "tiny", "--steps", 2, "--json", file]
    options += ["--objects", 9, "--batch", 4, "--format", "npy,webdataset", "--loop", 0, "--compared", 0]
    done = dimvida("bench", "generation", *options, "--device", "cpu")
    assert done.code == 0, done
    result = json.loads(file.read_text())
    assert result["network"] == "preset tiny, random weights"
    assert result["inputs"] == {"form": "npy", "objects": 9, "workers": 1}
    assert [(run["format"], run["objects"], run["views"]) for run in result["runs"]] == [
        ("npy", 9, 27), ("webdataset", 9, 27),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "named"),
    [(("--inputs", "tar"), "--inputs tar"), (("--preset", "tiny", "--checkpoint", "bundled"), "--preset or")],
)
def test_bad_options(dimvida, options, named: str):
    assert named in dimvida("bench", "generation", *options).refusal()


def test_the_host_side_alone(bench):
    result = bench("--host", "--objects", 5, "--batch", "2,4", "--format", "npy")
    assert "runs" not in result
    assert [(run["format"], run["batch"], run["objects"]) for run in result["host"]] == [("npy", 2, 5), ("npy", 4, 5)]
    assert all(run["of_floor"] > 0 and run["of_floor_processors"] > 0 for run in result["host"])


def test_a_view_that_the_checkpoint_lacks(dimvida, tiny_checkpoint: Path):
    assert "--view top" in dimvida("bench", "generation", "--checkpoint", tiny_checkpoint, "--view", "top").refusal()
