"""Whose folder it is, and what may be continued."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dimvida.errors import InputError
from dimvida.reproduction.settings import Settings, open_data
from dimvida.reproduction.state import FILE, load_state, owned

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
    assert state.stages["model"]["minutes"] == 2


def test_another_configuration_is_refused_and_named(tmp_path: Path):
    begin(tmp_path)
    with pytest.raises(InputError, match="another seeds: 1, not 3"):
        load_state(tmp_path, {**CONFIGURATION, "seeds": 3}, [])


WRONG = '{"configuration": {}, "command": [], "plan": null, "stages": [1]}'


@pytest.mark.parametrize("text", ["", "[]", "{}", WRONG, "[" * 10**5])
def test_a_damaged_state_is_refused(tmp_path: Path, text):
    (tmp_path / FILE).write_text(text)
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


def test_the_description_of_a_chain_survives_json(tmp_path: Path, write_objects):
    data = write_objects(tmp_path / "d", {"chair/a": ("front", "back"), "table/b": ("front", "back")})
    settings = Settings(data, preset="tiny", weights=("imagenet",), lpips_weights=Path("l.pth"), budget=5.0)
    described = settings.describe(open_data(str(data)))
    assert json.loads(json.dumps(described)) == described
    assert described["form"] == "folder" and described["name"] == "d"


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ({"chair/a": ("front",), "table/b": ("front",)}, "one view"),
        ({"chair/a": ("front", "back")}, "fewer than two classes"),
    ],
)
def test_data_without_views_or_classes_are_refused(tmp_path: Path, write_objects, objects, said):
    data = write_objects(tmp_path / "d", objects)
    with pytest.raises(InputError, match=said):
        open_data(str(data))


def test_nmr_insists_on_that_data_set(tmp_path: Path, write_objects):
    data = write_objects(tmp_path / "d", {"chair/a": ("front", "back"), "table/b": ("front", "back")})
    with pytest.raises(InputError, match="not the NMR data set but folder"):
        open_data(f"nmr:{data}")
    assert len(open_data(str(data))) == 2


@pytest.mark.parametrize(
    "options", [{"budget": -1.0}, {"seeds": 0}, {"preset": "huge"}, {"values": ("score.width=x",)}]
)
def test_options_that_do_not_fit_are_refused_before_anything_is_done(options):
    with pytest.raises(InputError):
        Settings(Path("d"), **options)
