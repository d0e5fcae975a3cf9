"""Whose folder it is, and what may be continued."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.commands import command

from dimvida.errors import InputError
from dimvida.reproduction.chain import load_state, owned
from dimvida.results.files import ReproductionResult

CONFIGURATION = {"preset": "tiny", "seeds": 1}


def begin(folder: Path) -> None:
    with owned(folder):
        state = load_state(folder, CONFIGURATION, ["dimvida", "reproduce"])
        state.record("model", ["train"], "model", finished=False, seconds=90)
        state.record("model", ["train"], "model", finished=True, seconds=30)


def test_a_state_is_found_again(tmp_path: Path):
    begin(tmp_path)
    state = load_state(tmp_path, CONFIGURATION, [])
    assert state.finished("model") and not state.finished("evaluation")
    assert state.command == ["dimvida", "reproduce"]  # how it was begun
    assert state.stages["model"].minutes == 2


def test_what_is_secret_in_urls_is_not_written_down(tmp_path: Path):
    with owned(tmp_path):
        state = load_state(tmp_path, CONFIGURATION, [])
        state.record(
            "model", ["train", "--data", "https://me:secret@host/a?key=secret"], "model", finished=True, seconds=1
        )
    text = (tmp_path / ReproductionResult.file).read_text()
    assert '"https://host/a"' in text and "secret" not in text


def test_another_configuration_is_refused_and_named(tmp_path: Path):
    begin(tmp_path)
    with pytest.raises(InputError, match="another seeds: 1, not 3"):
        load_state(tmp_path, {**CONFIGURATION, "seeds": 3}, [])


WRONG = '{"configuration": {}, "command": [], "plan": null, "stages": [1]}'


@pytest.mark.parametrize("text", ["", "[]", "{}", WRONG, "[" * 10**5])
def test_a_damaged_state_is_refused(tmp_path: Path, text):
    (tmp_path / ReproductionResult.file).write_text(text)
    with pytest.raises(InputError, match="damaged"):
        load_state(tmp_path, CONFIGURATION, [])


def test_a_folder_of_something_else_is_refused(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="not empty"):
        load_state(tmp_path, CONFIGURATION, [])


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path):
    (tmp_path / ".reproduce.abcd1234.json").write_text("{")
    with owned(tmp_path):
        assert load_state(tmp_path, CONFIGURATION, []).stages == {}
    assert not list(tmp_path.iterdir())


def test_two_processes_are_kept_apart(tmp_path: Path):
    with owned(tmp_path), pytest.raises(InputError, match="another process"), owned(tmp_path):
        pass


def test_a_place_that_is_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--out"), owned(tmp_path / "file"):
        pass


def test_it_is_not_for_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = command("reproduce", "--data", tmp_path, "--out", tmp_path / "out")
    assert result.code == 2
    assert result.errors == ["error: reproduce runs in one process; start it without torchrun"]
    assert not (tmp_path / "out").exists()
