"""``dimvida classify`` from end to end: what it writes, what it reuses, what it survives, what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import Result, Started, command, wait_until
from helpers.objects import SHADES, SIZE, VIEWS, write_shades
from safetensors.torch import load_file

from dimvida.bench.machine import torch_threads
from dimvida.classification.objects import read_single_views
from dimvida.data.opening import open_source
from dimvida.models import AutoencoderConfig, ScoreConfig
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig, SamplingDefaults, save_checkpoint
from dimvida.models.classifiers import build_classifier

# The quickest study that has everything.
QUICK = (
    *("--preset", "tiny", "--classifiers", "mobilenet-v3-small", "--seeds", "2"),
    *("--set", "classifier_stage.steps=4", "--set", "classifier_stage.batch=4", "--set", "validation=0.25"),
    *("--set", "classifier_stage.save_every=2", "--set", "classifier_stage.warmup_steps=0"),
)


def study(data: Path, out: Path, checkpoint: Path, *arguments: str) -> list[str]:
    """A command line; arguments replace the quick ones."""
    start = ["classify", "--data", data, "--out", out, "--checkpoint", checkpoint, *QUICK, *arguments]
    return [str(argument) for argument in start]


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shades(tmp_path_factory.mktemp("data") / "shades")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shades: Path, tiny_checkpoint: Path) -> tuple[Path, Result]:
    """A whole study and what it printed; nobody may change its folder."""
    out = tmp_path_factory.mktemp("runs") / "study"
    with torch_threads(1):  # as in every test of this folder
        return out, command(*study(shades, out, tiny_checkpoint))


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "classification.json").read_text())


def without_command(out: Path) -> dict[str, Any]:
    return {key: value for key, value in results(out).items() if key != "command"}


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_it_fills_the_papers_table(finished: tuple[Path, Result], shades: Path):
    out, result = finished
    assert (result.code, result.errors) == (0, [])
    found = results(out)
    assert (found["schema"], found["kind"], found["data"]) == (1, "classification", "shades")
    assert found["classes"] == list(SHADES) and found["view_names"] == ["front", "right", "back", "left"]
    assert found["partitions"] == {"d": 6, "c": 6, "e": 6}
    assert found["coherence"]["count"] == 18
    assert 18 * found["coherence"]["mean"] in map(pytest.approx, range(19))
    assert found["note"] in result.out and "is yours to know" in result.out and "no --weights" in result.out
    cells = {(cell["train"], cell["test"]): cell for cell in found["cells"]}
    assert set(cells) == {("c", "e"), ("c", "ea"), ("ca", "e"), ("ca", "ea")}
    for (train, test), cell in cells.items():
        assert (cell["table"], cell["classifier"], cell["train_steps"]) == ("scratch", "mobilenet-v3-small", 4)
        assert cell["model"] == {"c": "omega_s", "ca": "omega_m"}[train]
        assert (cell["average"], cell["views"]) == {"e": ("single", 1), "ea": ("probabilities", 4)}[test]
        assert len(cell["accuracy"]["values"]) == 2 and cell["accuracy"]["deviation"] is not None
        # Every object of e once for each seed, in the row of its class.
        assert [sum(row) for row in cell["confusion"]] == [6, 6]
        right = sum(cell["confusion"][place][place] for place in range(2))
        assert cell["accuracy"]["mean"] == pytest.approx(right / 12)
    assert len(found["comparisons"]) == 6
    assert all(0 < pair["p"] <= 1 for pair in found["comparisons"])


def test_the_tables_fit_a_narrow_screen(
    finished: tuple[Path, Result], shades: Path, tiny_checkpoint: Path, narrow_terminal: None
):
    out, _ = finished
    result = command(*study(shades, out, tiny_checkpoint))
    tables = [line for line in result.out.splitlines() if line.startswith((" MobileNet", " classifier", " ──"))]
    assert len(tables) > 4 and max(map(len, tables)) <= 80 and not any("…" in line for line in tables)


def test_a_rerun_touches_nothing(finished: tuple[Path, Result], shades: Path, tiny_checkpoint: Path):
    out, first = finished
    before = times(out)
    # As of one that was killed after a classifier was written, before its state was removed.
    next(out.glob("classifiers/*/classifier.csv")).with_name("classifier.state").write_bytes(b"of no more use")
    again = command(*study(shades, out, tiny_checkpoint))
    assert (again.code, again.out) == (0, first.out)
    assert times(out) == before
    assert "steps" not in again.err and "generating" not in again.err


def test_of_the_objects_of_c_and_e_one_real_view_is_ever_used(
    finished: tuple[Path, Result], shades: Path, tiny_checkpoint: Path, tmp_path: Path
):
    data = tmp_path / "shades"
    subprocess.run(["cp", "-r", str(shades), str(data)], check=True)
    used, _, _ = read_single_views(open_source(data, split="test"), VIEWS, SIZE)
    for identity, used_view in zip(used.ids, used.views.tolist(), strict=True):
        for view in set(VIEWS) - {VIEWS[used_view]}:
            (data / identity / f"{view}.png").write_bytes(b"not an image")
    out = tmp_path / "study"
    result = command(*study(data, out, tiny_checkpoint))
    assert (result.code, result.errors) == (0, [])
    assert without_command(out) == without_command(finished[0])
    # And d, which all views are used of, has other objects.
    plans = [json.loads(path.read_text())["data"] for path in out.glob("classifiers/*/training.json")]
    assert sorted(plan["part"] for plan in plans) == ["c", "c", "ca", "ca", "d"]
    judge = next(plan for plan in plans if plan["part"] == "d")
    train = sum(record.split == "train" for record in open_source(data).records)
    assert judge["objects"] + judge["validation_objects"] == train


def test_more_questions_reuse_what_is_there(
    finished: tuple[Path, Result], shades: Path, tiny_checkpoint: Path, tmp_path: Path
):
    weights = tmp_path / "weights.pth"
    torch.save(build_classifier("mobilenet-v3-small", tuple("abcde")).network.state_dict(), weights)
    out, _ = finished
    before = {path: time for path, time in times(out).items() if path.name != "classification.json"}
    more = ["--beyond", "averaging,samples,views,steps", "--samples-per-view", "2", "--sampler-steps", "2"]
    more += ["--weights", f"mobilenet-v3-small={weights}", "--seeds", "1", "--budget", "both"]
    elsewhere = tmp_path / "study"
    subprocess.run(["cp", "-a", str(out), str(elsewhere)], check=True)
    result = command(*study(shades, elsewhere, tiny_checkpoint, *more))
    assert (result.code, result.errors) == (0, [])
    assert {elsewhere / path.relative_to(out): time for path, time in before.items()}.items() <= times(
        elsewhere
    ).items()
    found = results(elsewhere)
    groups = {cell["group"] for cell in found["cells"]}
    assert groups == {"", "averaging", "samples", "views", "steps"}
    assert {cell["table"] for cell in found["cells"]} == {"scratch", "finetuned", "beyond"}
    epochs = [cell for cell in found["cells"] if cell["budget"] == "epochs"]
    assert {cell["train_steps"] for cell in epochs} == {16} and {cell["train"] for cell in epochs} == {"ca"}
    assert 0 < found["diversity"]["pixel_deviation"] < 1
    assert len({cell["id"] for cell in found["cells"]}) == len(found["cells"])
    # The same question asked twice has one answer.
    answers: dict[tuple, list] = {}
    for cell in found["cells"]:
        if cell["weights"] == "scratch" and cell["train_samples_per_view"] == 1 and cell["views"] in (1, 4):
            key = tuple(
                cell[name] for name in ("train", "budget", "test", "average", "samples_per_view", "sampler_steps")
            )
            answers.setdefault(key, []).append(cell["accuracy"]["values"])
    assert all(values == same[0] for same in answers.values() for values in same)
    for title in ("Table III", "Ways to average", "samples of each", "Views that", "Network evaluations"):
        assert title in result.out


def test_generated_views_and_standard_augmentation_together(shades: Path, tiny_checkpoint: Path, tmp_path: Path):
    arguments = ["--beyond", "augmentation", "--seeds", "1", "--limit", "4", "--set", "classifier_stage.steps=1"]
    result = command(*study(shades, tmp_path / "study", tiny_checkpoint, *arguments))
    assert (result.code, result.errors) == (0, [])
    found = results(tmp_path / "study")
    assert found["partitions"] == {"d": 6, "c": 4, "e": 4}
    rows = [(cell["train"], cell["test"]) for cell in found["cells"] if cell["group"] == "augmentation"]
    assert rows == [(train, test) for train in ("c", "c+taw", "ca", "ca+taw") for test in ("e", "ea")]


def test_a_classifier_that_was_trained_before_can_judge(
    finished: tuple[Path, Result], shades: Path, tiny_checkpoint: Path, tmp_path: Path
):
    out, _ = finished
    judge = next((out / "classifiers").glob("judge-*"))
    arguments = ["--judge", str(judge), "--seeds", "1", "--set", "classifier_stage.steps=1"]
    result = command(*study(shades, tmp_path / "study", tiny_checkpoint, *arguments))
    assert (result.code, result.errors) == (0, [])
    assert results(tmp_path / "study")["coherence"] == results(out)["coherence"]
    assert not list((tmp_path / "study").glob("classifiers/judge-*"))


def test_a_generator_of_gray_views(shades: Path, tmp_path: Path):
    sizes = AutoencoderConfig(image_size=SIZE, channels=1, latent_dim=8, base=8)
    defaults = SamplingDefaults(solver="ddim", steps=1)
    config = CheckpointConfig(VIEWS, (), sizes, ScoreConfig(width=32, time_dim=16, groups=8), sampling=defaults)
    autoencoder, score = config.build()
    torch.nn.init.normal_(score.output.weight, std=0.05)
    save_checkpoint(tmp_path / "gray", Checkpoint(config, autoencoder, score, torch.zeros(8), torch.ones(8)))
    quick = ["--seeds", "1", "--limit", "4", "--set", "classifier_stage.steps=1"]
    result = command(*study(shades, tmp_path / "study", tmp_path / "gray", *quick))
    assert (result.code, result.errors) == (0, [])
    part = next((tmp_path / "study").glob("generated/*/draw-0/part-0000.safetensors"))
    assert load_file(part)["views"].shape == (4, 4, 1, SIZE, SIZE)


@pytest.mark.slow
def test_killed_or_stopped_it_ends_in_the_same_result(
    finished: tuple[Path, Result], shades: Path, tiny_checkpoint: Path, tmp_path: Path
):
    out = tmp_path / "study"
    process = Started(*study(shades, out, tiny_checkpoint))
    # In the middle of the second classifier, after a saved state.
    wait_until(lambda: list(out.glob("classifiers/mobilenet-v3-small-c-seed1-*/classifier.state")), process)
    process.kill()
    process.finish()
    assert not (out / "classification.json").exists()
    kept = times(out / "generated")

    process = Started(*study(shades, out, tiny_checkpoint))
    wait_until(lambda: list(out.glob("classifiers/mobilenet-v3-small-ca-*/training.json")), process)
    process.send_signal(signal.SIGTERM)
    stopped = process.finish()
    assert (stopped.code, "stopped; the same command continues" in stopped.out) == (0, True), stopped
    assert "terminated; saving the state" in stopped.err

    assert Started(*study(shades, out, tiny_checkpoint)).finish().code == 0
    assert without_command(out) == without_command(finished[0])
    assert times(out / "generated") == kept
    assert not [path for path in out.rglob(".*") if path.is_file()]
    assert not list(out.rglob("*.state"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--classifiers", "vgg"), "classifier 'vgg': choose from"),
        (("--budget", "time"), "budget 'time': choose from steps, epochs"),
        (("--beyond", "colour"), "--beyond colour: choose from averaging"),
        (("--average", "votes"), "choose from probabilities, logits, confidence"),
        (("--weights", "vgg=imagenet"), "'vgg' is not one of --classifiers"),
        (("--weights", "mobilenet-v3-small=none.pth"), "none.pth: no such file"),
        (("--weights", "none.pth"), "give imagenet, or NAME=FILE"),
        (("--split", "val"), "has no split 'val'"),
        (("--solver", "magic"), "magic"),
        (("--beyond", "steps", "--sampler-steps", "0"), "must be at least 1"),
        (("--beyond", "augmentation", "--set", "classifier_stage.augment=trivial-augment-wide"), "compares with none"),
        (("--seeds", "0"), "--seeds 0"),
        (("--limit", "1"), "--limit 1: must be at least 2"),
        (("--judge", "nowhere"), "nowhere: no classifier there"),
        (("--partition", "none.json"), "none.json: cannot be read"),
        (("--set", "classifier_stage.lr=0"), "lr must be above 0"),
        (("--minutes", "-1"), "--minutes -1: must not be negative"),
    ],
)
def test_what_does_not_fit_is_one_line(
    shades: Path, tiny_checkpoint: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
):
    assert message in command(*study(shades, tmp_path / "study", tiny_checkpoint, *arguments)).refusal()
    assert not list(tmp_path.glob("study/classifiers/*"))


def test_it_is_not_for_torchrun(shades: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = command(*study(shades, tmp_path / "study", tiny_checkpoint))
    assert "classify runs in one process; start it without torchrun" in result.refusal()


def test_a_folder_of_something_else_is_left_alone(shades: Path, tiny_checkpoint: Path, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    assert "not a folder of dimvida classify" in command(*study(shades, tmp_path, tiny_checkpoint)).refusal()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_objects_that_the_generator_was_trained_on_are_refused(shades: Path, tiny_checkpoint: Path, tmp_path: Path):
    checkpoint = tmp_path / "checkpoint"
    subprocess.run(["cp", "-r", str(tiny_checkpoint), str(checkpoint)], check=True)
    config = json.loads((checkpoint / "config.json").read_text())
    config["provenance"] = {"data": {"name": "shades", "split": "test", "partition": None}}
    (checkpoint / "config.json").write_text(json.dumps(config))
    result = command(*study(shades, tmp_path / "study", checkpoint))
    assert "the generator was trained on the split 'test' of shades" in result.refusal()


def test_an_unreadable_view_is_an_error_unless_skipped(shades: Path, tiny_checkpoint: Path, tmp_path: Path):
    data = tmp_path / "shades"
    subprocess.run(["cp", "-r", str(shades), str(data)], check=True)
    for path in (data / "test" / "dark" / "object_06").iterdir():
        path.write_bytes(b"not an image")
    quick = ["--seeds", "1", "--set", "classifier_stage.steps=1"]
    result = command(*study(data, tmp_path / "study", tiny_checkpoint, *quick))
    assert result.code == 1 and "object_06" in result.errors[0]
    assert sum(results(tmp_path / "study")["partitions"][part] for part in "ce") == 11
    assert command(*study(data, tmp_path / "study", tiny_checkpoint, *quick, "--skip-bad")).code == 0
