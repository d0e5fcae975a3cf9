"""The data set card: what it says, that it is kept right, and that nothing of the user's is lost for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from dimvida.data.opening import open_source
from dimvida.generation.card import CARD, PICTURE, card_problem, card_text, remove_card
from dimvida.generation.formats import FORMATS
from dimvida.generation.formats.columns import TypedColumn, yaml_features, yaml_text
from dimvida.generation.run import Generation
from dimvida.generation.settings import CONFIGURATION, read_configuration
from dimvida.generation.stats import GenerationReport
from dimvida.generation.verify import find_damage, open_output


@pytest.fixture
def finished(start: Callable[..., Generation], tmp_path: Path) -> Path:
    with start(tmp_path / "out", steps=1) as generation:
        generation.run()
    return tmp_path / "out"


def run_again(start: Callable[..., Generation], folder: Path) -> None:
    with start(folder, steps=1) as generation:
        generation.run()


def read(folder: Path) -> tuple[dict, str]:
    """The header and the text of a card."""
    _, header, text = (folder / CARD).read_text().split("---\n", 2)
    return yaml.safe_load(header), text


def test_what_a_card_says(finished: Path):
    header, text = read(finished)
    assert header["configs"][0]["data_files"] == [{"split": "train", "path": ["metadata.jsonl", "*/*.png"]}]
    names = [feature["name"] for feature in header["dataset_info"]["features"]]
    assert names[0] == "image" and {"source", "source_sha256", "view", "label", "sha256"} < set(names)
    configuration = read_configuration(finished / CONFIGURATION)
    views = 22 * (len(configuration["view_names"]) - 1)
    for line in (
        "| Objects | 22 of 1 class |",
        f"| Generated views | {views} (1 draw of each) |",
        "could not be read | 2 |",
    ):
        assert line in text
    assert configuration["checkpoint"] in text and configuration["plan"] in text
    assert np.asarray(Image.open(finished / PICTURE)).std() > 1


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_bytes_again_and_no_data_for_our_readers(start: Callable[..., Generation], tmp_path: Path, form: str):
    for name in ("one", "two"):
        with start(tmp_path / name, steps=1, format=form) as generation:
            generation.run()
    assert (tmp_path / "one" / PICTURE).read_bytes() == (tmp_path / "two" / PICTURE).read_bytes()
    assert (tmp_path / "one" / CARD).read_bytes() == (tmp_path / "two" / CARD).read_bytes()
    source = open_source(tmp_path / "one")
    assert len(source) == 22 and not source.left_out
    assert not any(CARD in note or PICTURE in note for note in source.notes)


@pytest.mark.parametrize("name", [CARD, PICTURE])
def test_a_card_that_is_damaged_or_gone_is_found_and_written_again(finished: Path, start, name: str):
    whole = {path: (finished / path).read_bytes() for path in (CARD, PICTURE)}
    first = whole[name].index(b"<!--") if name == CARD else 100
    for damaged in (whole[name][:first] + b"#" + whole[name][first + 1 :], None):
        (finished / name).unlink() if damaged is None else (finished / name).write_bytes(damaged)
        assert [line.startswith(name) for line in find_damage(open_output(finished))] == [True]
        run_again(start, finished)
        assert {path: (finished / path).read_bytes() for path in whole} == whole


def test_a_card_of_the_users_own_stays_as_it_is(finished: Path, start):
    (finished / CARD).write_text("# Mine\n")
    assert find_damage(open_output(finished)) == []
    run_again(start, finished)
    remove_card(finished)
    assert (finished / CARD).read_text() == "# Mine\n" and (finished / PICTURE).exists()


def test_an_output_older_than_cards_is_whole_without_one(finished: Path):
    output = open_output(finished)
    (finished / CARD).unlink()
    assert find_damage(output) == [f"{CARD}: missing"]
    del output.configuration["classes"]
    assert find_damage(output) == []


@pytest.mark.parametrize(
    "name", ["a: b", "- x", "'\"\\", "yes", "12", "", "é", "\u2028\x85\x7f\x1b", "\N{CHAIR}", "#|`"]
)
def test_names_that_yaml_would_take_for_something_else(name: str):
    assert yaml.safe_load(yaml_text(name)) == name
    assert len(yaml_text(name).splitlines()) == 1
    column = TypedColumn("label", "class", [name])
    features = yaml.safe_load("\n".join(yaml_features([column])))
    assert features == [{"name": "label", "dtype": {"class_label": {"names": {"0": name}}}}]


@pytest.mark.parametrize(("views", "size"), [(999, "n<1K"), (1000, "1K<n<10K"), (10**7, "n>10M")])
def test_sizes_as_the_hub_counts_them(finished: Path, views: int, size: str):
    configuration = read_configuration(finished / CONFIGURATION)
    text = card_text(configuration, GenerationReport(views=views), "0")
    assert yaml.safe_load(text.split("---\n")[1])["size_categories"] == [size]
    assert card_problem(finished, configuration, GenerationReport(views=views)) is not None
