"""The whole chain: end to end, killed and continued, and left alone once it is finished."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.commands import Result, Started, command, wait_until
from helpers.networks import SHORT, options, weights
from helpers.objects import write_shades
from helpers.servers import s3_server

from dimvida.models.checkpoint import load_checkpoint

CLASSIFIER = ("steps=4", "batch=4", "save_every=2", "warmup_steps=0", "log_every=1")
SETTINGS = (*SHORT, "autoencoder_stage.warmup_steps=0", "validation=0.25")
SETTINGS += tuple(f"classifier_stage.{value}" for value in CLASSIFIER)
STAGES = ["partition", "model", "classifier for coherence", "evaluation", "classification", "report"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty dark and twenty light boxes, in no split."""
    return write_shades(tmp_path_factory.mktemp("data"), train=40, test=0) / "train"


def line(data: Path | str, out: Path, *arguments: str) -> list[str]:
    start = ["reproduce", "--data", str(data), "--out", str(out), "--preset", "tiny", "--seeds", "1"]
    return [*start, "--classifiers", "mobilenet-v3-small", *options(SETTINGS), *arguments]


def state(out: Path) -> dict:
    return json.loads((out / "reproduce.json").read_text())


def results(out: Path) -> list:
    """Every number that a chain found."""
    classification = json.loads((out / "classification" / "classification.json").read_text())
    evaluation = json.loads((out / "evaluation" / "evaluation.json").read_text())
    return [
        evaluation["known"],
        evaluation["per_class"],
        [(cell["id"], cell["accuracy"], cell["confusion"]) for cell in classification["cells"]],
        weights(out / "model"),
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shades: Path, one_thread: None) -> tuple[Path, Result]:
    """A chain that nobody disturbed, and what it said."""
    out = tmp_path_factory.mktemp("runs") / "chain"
    result = command(*line(shades, out))
    assert result.code == 0, result.err
    return out, result


def test_the_chain_makes_the_three_tables(finished, shades: Path):
    out, result = finished
    assert [stage["name"] for stage in state(out)["stages"]] == STAGES
    assert all(stage["finished"] for stage in state(out)["stages"])
    text = (out / "report" / "report.md").read_text()
    assert "Table I: " in text and "Table II: " in text
    for part in ("PSNR", "coherence", "MobileNetV3-Small", "autoencoder: loss", "classifier: loss", "McNemar"):
        assert part in text
    shown = [row.removeprefix("$ ") for row in result.out.splitlines() if row.startswith("$ ")]
    assert [row.split()[1] for row in shown] == ["data", "train", "train", "evaluate", "classify", "report"]
    assert all(row in text for row in shown)  # the report's command lines are those that were run
    assert f"report: {out / 'report' / 'report.html'}" in result.out


def test_every_stage_takes_its_own_part_of_the_objects(finished):
    out, _ = finished
    parts = json.loads((out / "partition.json").read_text())
    classification = json.loads((out / "classification" / "classification.json").read_text())
    evaluation = json.loads((out / "evaluation" / "evaluation.json").read_text())
    trained = json.loads((out / "model" / "run.json").read_text())["data"]
    assert evaluation["objects"] == len(parts["e"]) == classification["partitions"]["e"]
    assert classification["partitions"]["c"] == len(parts["c"])
    assert trained["objects"] + trained["validation_objects"] == len(parts["d"])
    assert not set(parts["d"]) & set(parts["c"]) | set(parts["e"]) & set(parts["c"] + parts["d"])


def test_a_finished_chain_is_left_alone(finished, shades: Path, dimvida):
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    result = dimvida(*line(shades, out))
    assert result.code == 0
    assert result.out == f"\neverything is done; report: {out / 'report' / 'report.html'}\n"
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize("arguments", [("--seeds", "2"), ("--set", "classifier_stage.steps=5"), ("--seed", "1")])
def test_another_configuration_is_refused(finished, shades: Path, dimvida, arguments):
    out, _ = finished
    assert "begun with another" in dimvida(*line(shades, out, *arguments)).refusal()


@pytest.fixture
def bucket(shades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The boxes in a zip file of a bucket."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    monkeypatch.setenv("DIMVIDA_CACHE", str(tmp_path / "cache"))
    with s3_server(monkeypatch) as system:
        system.mkdir("bucket")
        system.put_file(shutil.make_archive(str(tmp_path / "shades"), "zip", shades), "bucket/shades.zip")
        yield "s3://bucket/shades.zip"


def test_killed_and_terminated_a_chain_on_a_url_ends_with_the_same_numbers(
    finished, bucket: str, tmp_path: Path, dimvida
):
    out = tmp_path / "chain"
    process = Started(*line(bucket, out))
    wait_until(lambda: (out / "model" / "autoencoder.csv").exists(), process)
    process.kill()
    process.finish()
    assert [stage["finished"] for stage in state(out)["stages"]] == [True, False]

    process = Started(*line(bucket, out))
    wait_until(lambda: (out / "model" / "diffusion.csv").exists(), process)
    process.send_signal(signal.SIGTERM)
    stopped = process.finish()
    assert (stopped.code, stopped.errors) == (128 + signal.SIGTERM, ["error: stopped by SIGTERM"]), stopped
    assert "the same command continues" in stopped.out
    assert "--resume" in stopped.out  # the training's command line
    assert not (out / "evaluation").exists()

    process = Started(*line(bucket, out))
    wait_until(lambda: (out / "evaluation").exists(), process)
    process.send_signal(signal.SIGTERM)  # to a command that does not take it for itself
    stopped = process.finish()
    assert (stopped.code, stopped.errors) == (128 + signal.SIGTERM, ["error: stopped by SIGTERM"]), stopped

    process = Started(*line(bucket, out))
    wait_until(lambda: list(out.glob("classification/generated/*/draw-0/*.safetensors")), process)
    process.send_signal(signal.SIGINT)
    stopped = process.finish()
    assert (stopped.code, stopped.errors) == (130, ["error: interrupted"]), stopped
    evaluated = (out / "evaluation" / "evaluation.json").stat().st_mtime_ns

    assert dimvida(*line(bucket, out)).code == 0
    assert (out / "evaluation" / "evaluation.json").stat().st_mtime_ns == evaluated
    assert results(out) == results(finished[0])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--weights", "imagenet=x"), "imagenet"),
        (("--beyond", "everything"), "everything"),
        (("--classifiers", "vgg"), "vgg"),
        (("--preset", "huge"), "huge"),
        (("--data", "nowhere"), "nowhere"),
        (("--init", "nowhere"), "nowhere"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_made(shades: Path, tmp_path: Path, dimvida, arguments, named):
    assert named in dimvida(*line(shades, tmp_path / "chain", *arguments)).refusal()
    assert not (tmp_path / "chain").exists()


def test_a_failing_stage_ends_the_chain_in_one_line(shades: Path, tmp_path: Path, dimvida):
    data, out = tmp_path / "shades", tmp_path / "chain"
    shutil.copytree(shades, data)
    for picture in data.rglob("front.png"):
        picture.write_bytes(b"no picture")
    result = dimvida(*line(data, out))
    assert result.code != 0
    assert len(result.errors) == 1 and "'front'" in result.errors[0]
    assert [stage["finished"] for stage in state(out)["stages"]] == [True, False]
    assert not (out / "report").exists()


def test_a_budget_sets_the_lengths_once_and_first_weights_are_taken(finished, shades: Path, tmp_path: Path, dimvida):
    out, first = tmp_path / "chain", finished[0] / "model"
    asked = line(shades, out, "--minutes", "600", "--init", str(first))
    result = dimvida(*asked)
    assert result.code == 0, result.err
    plan = state(out)["plan"]
    lengths = [plan[name] for name in ("autoencoder", "diffusion", "study", "judge")]
    assert lengths == [30, 60, 4, 4]  # at most the preset
    provenance = load_checkpoint(out / "model").config.provenance
    assert provenance["init"]["checkpoint_sha256"] == load_checkpoint(first).digest
    assert not (out / "trial").exists()
    classify = next(stage for stage in state(out)["stages"] if stage["name"] == "classification")["command"]
    assert classify[classify.index("--budget") + 1] == "steps"
    assert dimvida(*asked).out.startswith("\neverything is done")
