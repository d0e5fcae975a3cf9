"""The folder of a run: what it refuses, whom it keeps out, and what it remembers."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from pathlib import Path

import pytest

from dimvida.errors import DimvidaError, InputError
from dimvida.files import atomic_path
from dimvida.results.files import STAGES, TrainingResult
from dimvida.training.folder import RunFolder
from dimvida.training.state import load_state

CONFIGURATIONS = {"autoencoder": "a" * 64, "diffusion": "d" * 64}
ONE, OTHER = "1" * 64, "2" * 64


def check(path: Path, *stages: str, resume: bool = False, init: str | None = None) -> None:
    RunFolder(path).check(stages or STAGES, resume=resume, init=init)


def begin(path: Path, *stages: str, init: str | None = None, saved: bool = True) -> RunFolder:
    """A folder in which stages have begun and, unless killed before that, saved a state."""
    folder = RunFolder(path)
    with folder.owned():
        for stage in stages:
            folder.begin(stage, CONFIGURATIONS[stage], TrainingResult(data={"name": "boxes"}, init=init))
            if saved:
                folder.state(stage).write_bytes(b"state")
    return folder


def test_a_new_run_needs_a_new_or_empty_folder(tmp_path: Path):
    check(tmp_path / "new")
    check(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(InputError, match="not empty, and not a training run; choose another --out"):
            check(tmp_path, resume=resume)


def test_only_a_run_can_be_resumed(tmp_path: Path):
    for path in (tmp_path, tmp_path / "new"):
        with pytest.raises(InputError, match="holds no training to resume; leave out --resume"):
            check(path, resume=True)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("saved", [True, False])
def test_a_begun_stage_is_resumed_and_not_begun_again(tmp_path: Path, saved: bool):
    begin(tmp_path, "autoencoder", saved=saved)
    check(tmp_path, resume=True)
    for stages in (("autoencoder",), STAGES):
        with pytest.raises(InputError, match="already holds its autoencoder stage; add --resume"):
            check(tmp_path, *stages)


def test_a_stage_is_added_to_a_run(tmp_path: Path):
    begin(tmp_path, "autoencoder")
    check(tmp_path, "diffusion")
    check(tmp_path, "diffusion", resume=True)
    with pytest.raises(InputError, match="holds no trained autoencoder"):
        check(tmp_path / "other", "diffusion")


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        (ONE, None, r"was started with --init \(checkpoint 111111111111\); give the same one again"),
        (None, ONE, "was started without --init; leave it out"),
        (ONE, OTHER, "--init: is checkpoint 222222222222, but .* was started from 111111111111"),
    ],
)
def test_how_a_run_began_is_remembered(tmp_path: Path, before: str | None, now: str | None, message: str, saved: bool):
    begin(tmp_path, "diffusion" if before else "autoencoder", init=before, saved=saved)
    with pytest.raises(InputError, match=message):
        check(tmp_path, "diffusion", resume=True, init=now)
    if before:
        check(tmp_path, "diffusion", resume=True, init=before)


def test_a_diffusion_on_another_autoencoder_gets_none_of_its_own(tmp_path: Path):
    begin(tmp_path, "diffusion", init=ONE)
    for stages in (STAGES, ("autoencoder",)):
        with pytest.raises(InputError, match="a diffusion on the autoencoder of --init; add --stage diffusion"):
            check(tmp_path, *stages, resume=True, init=ONE)


@pytest.mark.parametrize("content", ["{", "[]", "3", '{"init": 5}', '{"stages": []}', '{"options": 1}', "[" * 10**5])
def test_a_damaged_description_is_refused(tmp_path: Path, content: str):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run\.json: damaged"):
        check(tmp_path, resume=True)


def test_a_flipped_bit_in_the_description_is_refused(tmp_path: Path):
    folder = begin(tmp_path, "autoencoder")
    path, told = tmp_path / "run.json", folder.description()
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 7]) + content[place + 1 :])
        try:
            found = folder.description()
        except InputError as error:
            assert "damaged" in str(error)
        else:  # the bit was in a blank, or in the name of the hash
            assert dataclasses.replace(found, sha256=told.sha256) == told


def test_what_cannot_be_read_is_not_said_to_be_damaged(tmp_path: Path):
    (tmp_path / "run.json").symlink_to("/proc/self/mem")  # at whose beginning there is nothing: an error of reading
    with pytest.raises(InputError, match=r"run\.json: cannot be read \(Input/output error\); nothing was changed"):
        check(tmp_path, resume=True)
    state = tmp_path / "autoencoder.state"
    state.symlink_to("/proc/self/mem")
    with pytest.raises(InputError, match=r"autoencoder\.state: cannot be read \(Input/output error\)"):
        load_state(state, ["a"])


def test_a_run_of_an_unknown_beginning_is_left_to_its_states(tmp_path: Path):
    folder = begin(tmp_path, "autoencoder")
    (tmp_path / "run.json").write_text("{}")
    check(tmp_path, resume=True, init=ONE)
    folder.state("autoencoder").unlink()
    with pytest.raises(InputError, match="not a training run"):
        check(tmp_path, resume=True)


def test_the_description_keeps_every_stage(tmp_path: Path):
    begin(tmp_path, "autoencoder", "diffusion")
    content = json.loads((tmp_path / "run.json").read_text())
    assert len(content.pop("sha256")) == 64
    assert content["stages"] == CONFIGURATIONS and content["data"] == {"name": "boxes"} and content["init"] is None


def leave_unfinished(path: Path) -> Path:
    """What is left of a file whose writer was killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = atomic_path(path)
    temporary = writer.__enter__()
    content = temporary.read_bytes()
    writer.gen.close()  # removes it, as no kill does
    temporary.write_bytes(content)
    return temporary


def test_unfinished_files_of_a_killed_run_are_removed(tmp_path: Path):
    folder = RunFolder(tmp_path)
    products = [folder.state(stage) for stage in STAGES] + [folder.curve(stage) for stage in STAGES]
    products += [folder.latents, folder.curves, tmp_path / "run.json", tmp_path / "training.json"]
    products += [folder.checkpoint / name for name in ("config.json", "score.safetensors", "latents.safetensors")]
    products += [folder.samples / "diffusion-004000.png"]
    unfinished = [leave_unfinished(path) for path in products]
    unfinished += [folder.path / ".tmpRHxfcC", folder.checkpoint / ".tmp0a1B2c"]  # as safetensors calls them
    for path in unfinished[-2:]:
        path.write_bytes(b"half a file")
    kept = [tmp_path / ".gitignore", tmp_path / ".notes.abcdefgh.txt", folder.samples / ".mine.json"]
    for path in kept:
        path.write_text("mine")
    with folder.owned():
        assert not any(path.exists() for path in unfinished)
    assert all(path.exists() for path in kept)


def test_a_run_killed_at_its_very_start_can_be_started_again(tmp_path: Path):
    leave_unfinished(tmp_path / "run.json")
    check(tmp_path)


def test_one_process_at_a_time(tmp_path: Path):
    with RunFolder(tmp_path).owned():
        unfinished = leave_unfinished(tmp_path / "autoencoder.state")
        with pytest.raises(InputError, match="another process is training here"), RunFolder(tmp_path).owned():
            pass
        assert unfinished.exists()
    with RunFolder(tmp_path).owned():
        assert not unfinished.exists()


@pytest.mark.parametrize(
    ("named", "begun", "said"),
    [
        (
            "/runs/a/autoencoder.state",
            True,
            r"/runs/a/autoencoder.state: cannot be written \(No space left on device\); .* add --resume",
        ),
        (None, True, r"\S+: cannot be written \(No space left on device\); .* add --resume"),
        (
            "/runs/a/run.json",
            False,
            r"/runs/a/run.json: cannot be written \(No space left on device\); nothing was begun",
        ),
    ],
)
def test_a_file_that_cannot_be_written_is_named_and_so_is_the_way_on(
    tmp_path: Path, named: str | None, begun: bool, said: str
):
    folder = begin(tmp_path, "autoencoder") if begun else RunFolder(tmp_path)
    with pytest.raises(DimvidaError, match=f"^{said}"), folder.owned():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), named)
    with pytest.raises(BrokenPipeError), folder.owned():
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
