"""What a report shows of the results, what it says of those that are missing, and what it refuses."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers.results import (
    REASON,
    accuracy,
    cell,
    classification,
    evaluation,
    score,
    write,
    write_classification,
    write_evaluation,
    write_solvers,
    write_training,
)

from dimvida.cli.app import run

SECTIONS = ("summary", "generation", "classification", "beyond", "comparisons", "confusion", "solvers", "training")


class Page(HTMLParser):
    """The parts of a page that tests ask for: rows of cells, pictures, attributes that load something, tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.images: list[dict[str, str | None]] = []
        self.loaded: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.add(tag)
        self.loaded += [value for name, value in attributes if name in ("src", "srcset", "href", "data", "action")]
        if tag == "img":
            self.images.append(values)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data):
        self.text += data
        if self._cell:
            self.rows[-1][-1] += data

    def row(self, *starts: str) -> list[str]:
        """The first row that begins with these cells, white space made even."""
        for row in self.rows:
            cells = [" ".join(text.split()) for text in row]
            if cells[: len(starts)] == list(starts):
                return cells[len(starts) :]
        raise AssertionError(f"no row {starts}")


def section(text: str, title: str) -> str:
    """A section of a Markdown report."""
    return text.split(f"## {title}")[1].split("\n## ")[0]


def test_everything_that_was_measured_is_there(full_report):
    page = Page(full_report.page)
    assert [name for name in page.loaded if name.startswith("#")][: len(SECTIONS)] == [f"#{key}" for key in SECTIONS]
    assert "missing" not in re.findall(r'class="note (\w+)"', full_report.page)
    assert page.row("PSNR, dB ↑")[:3] == ["20.12 19.54 – 20.71", "22.25 21.66 – 22.84", "24.38 23.79 – 24.96"]
    assert page.row("views scored")[:3] == ["312", "312", "312"]
    assert page.row("chair", "9")[0] == "0.170"  # by class
    assert page.row("back")[0] == "0.170"  # by view
    assert page.row("ResNet18 from scratch") == ["81.0 ± 1.0", "84.8 ± 1.0", "+3.7", "0.003", "+4.1"]
    assert page.row("ResNet18", "ca", "ea", "weighted by confidence")[-1] == "86.0 ± 1.0"
    assert page.row("ResNet18 from scratch, c on ea (mean of probabilities)")[1:] == ["1", "40", "< 0.001"]
    assert page.row("table")[:3] != ["2", "40", "3"]  # the first row of that name is a class's scores,
    assert ["table", "2", "40", "3"] in page.rows  # a later one that of a confusion matrix
    assert "dimvida evaluate --data 'my shapes.zip' --out runs/evaluation" in page.text
    assert page.row("evaluation", "0.1.0")[0] == "2.14.1"
    names = {picture["alt"].partition(".")[0] for picture in page.images}
    assert {"Contact sheet", "autoencoder: loss", "PSNR, 2 known (higher is better)"} <= names
    assert sum("Contact sheet" in picture["alt"] for picture in page.images) == 3


def test_the_papers_figures_stand_beside_and_are_marked(report, tmp_path: Path):
    made = report(write_evaluation(tmp_path / "e"), write_classification(tmp_path / "c"))
    page = Page(made.page)
    assert page.row("PSNR, dB ↑")[-3:] == ["24.028", "26.776", "28.491"]
    assert page.row("ResNet18", "ca (Ωm) 1,200 steps")[-2:] == ["85.18", "88.03"]
    for quoted in ("24.028", "85.18"):
        (tag,) = set(re.findall(rf"<(t[dh][^>]*)>{re.escape(quoted)}<", made.page))
        assert "quoted" in tag
    assert "The paper's figures are of the NMR data set, not of this data" in page.text
    assert "paper, NMR: 1" in made.text
    assert made.numbers["paper"]["generation"]["psnr"]["2"] == 26.776


def test_on_the_papers_data_the_report_says_so(report, tmp_path: Path):
    training = write_training(tmp_path / "model", data={"name": "NMR_Dataset", "form": "nmr-dvr"})
    made = report(training, write(tmp_path / "e", "evaluation.json", evaluation(data="NMR_Dataset")))
    assert "not of this data" not in made.page and "of the same data set, NMR" in made.page


def test_an_unavailable_metric_keeps_its_row_and_says_why(report, tmp_path: Path):
    made = report(write_evaluation(tmp_path / "e"))
    page = Page(made.page)
    assert page.row("FID ↓")[:3] == ["–", "–", "–"]
    assert f"FID is not available: {REASON}" in page.text
    assert not [picture for picture in page.images if picture["alt"].startswith("FID")]


def test_the_page_needs_nothing_else(full_report):
    page = Page(full_report.page)
    assert page.images and all(picture["src"].startswith("data:image/") for picture in page.images)
    assert all(name.startswith(("#", "data:")) for name in page.loaded)
    assert not page.tags & {"script", "iframe", "object", "embed", "base", "form"}


def test_the_markdown_refers_to_files_that_are_there(full_report):
    names = re.findall(r"!\[.*?\]\((images/[^)]+)\)", full_report.text)
    assert len(names) == len(set(names)) > 10
    assert {full_report.folder / name for name in names} == set((full_report.folder / "images").iterdir())
    for block in full_report.text.split("\n\n"):
        if block.startswith("|"):  # every row of a table has as many cells
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, block


def test_runs_of_the_same_name_are_told_apart(report, tmp_path: Path):
    one = write_evaluation(tmp_path / "one" / "evaluation")
    two = write_evaluation(tmp_path / "two" / "evaluation")
    made = report(one, two)
    assert [part["label"] for part in made.numbers["runs"]] == ["one/evaluation", "two/evaluation"]
    assert "<h3>one/evaluation</h3>" in made.page
    assert len(list((made.folder / "images").glob("*-psnr.svg"))) == 2


def test_a_folder_given_twice_counts_once(report, tmp_path: Path):
    folder = write_solvers(tmp_path / "s")
    assert len(report(folder, tmp_path / "." / "s").numbers["runs"]) == 1


@pytest.mark.parametrize(
    ("make", "title", "command"),
    [
        (write_training, "Generated views against the true ones", "dimvida evaluate --data"),
        (write_training, "Classification with generated views", "dimvida classify --data"),
        (write_training, "Quality against steps", "dimvida bench solvers --data"),
        (write_solvers, "Learning curves", "dimvida train --data"),
        (write_evaluation, "Confusion matrices", "dimvida classify --data"),
    ],
)
def test_what_is_missing_names_the_command_that_makes_it(report, tmp_path: Path, make, title, command):
    part = section(report(make(tmp_path / "run")).text, title)
    assert command in part and "|" not in part.replace("\\|", "")


def test_no_fine_tuned_classifiers_names_the_option(report, tmp_path: Path):
    cells = [cell("scratch", "resnet18", "c", "e", 0.8)]
    part = section(
        report(write_classification(tmp_path / "c", cells=cells)).text, "Classification with generated views"
    )
    assert "Table II" in part and "Table III" not in part and "--weights imagenet" in part


def test_a_generator_that_is_too_weak_is_said_at_the_top(report, tmp_path: Path):
    note = "coherence 31 % is below the accuracy on real views: averaging will not help"
    made = report(write_classification(tmp_path / "c", too_weak=True, note=note))
    summary = section(made.text, "Do generated views help?")
    assert note in summary and "The gains below are no contradiction" in summary
    assert '<div class="note warning">' in made.page
    lost = [cell("scratch", "resnet18", "c", "e", 0.8), cell("scratch", "resnet18", "ca", "ea", 0.79)]
    without = report(write_classification(tmp_path / "lost", too_weak=True, note=note, cells=lost))
    assert note in without.text and "no contradiction" not in without.text


def test_terms_are_explained_before_they_are_used(full_report):
    summary = section(full_report.text, "Do generated views help?")
    explanation, table = summary.split("|", 1)
    for term in ("Ωs is", "Ωm one", "(training set c)", "(ca)", "(e)", "(ea)"):
        assert term in explanation
    assert "Ωs on e" in table


def test_the_papers_figures_can_be_left_out(report, tmp_path: Path):
    folders = [write_evaluation(tmp_path / "e"), write_classification(tmp_path / "c")]
    made = report(*folders, options=["--no-paper"])
    assert "paper, NMR" not in made.text and "paper's" not in made.text and 'class="number quoted' not in made.page
    assert "24.028" not in made.text and "85.18" not in made.text
    assert "paper" not in made.numbers
    assert Page(made.page).row("ResNet18", "ca (Ωm) 1,200 steps")[0] == "82.5 ± 1.0"
    assert not [
        row for row in Page(made.page).rows if row[:1] == ["FID ↓"]
    ]  # a metric of the paper that was not measured


def test_a_metric_that_is_not_known_here_has_no_better_direction(report, tmp_path: Path):
    known = [{"known": 1, "subsets": 4, "subsets_total": 4, "objects": 26, "scores": {"vmaf": score(81.5, 0.5)}}]
    made = report(write_evaluation(tmp_path / "e", known=known, metrics={"vmaf": {"available": True}}))
    assert Page(made.page).row("vmaf")[0].startswith("81.500")
    assert "vmaf ↑" not in made.text and "vmaf (higher is better)" not in made.page


def test_the_spread_of_samples_and_notes_are_there(report, tmp_path: Path):
    spread = {"samples_per_view": 4, "pixel_deviation": 0.031, "disagreement": {"resnet18": 0.25}}
    cells = [
        cell(
            "beyond",
            "resnet18",
            "ca",
            "ea",
            0.5 + k / 100,
            group="samples",
            samples_per_view=k,
            train_samples_per_view=n,
        )
        for k in (1, 4)
        for n in (1, 4)
    ]
    made = report(write_classification(tmp_path / "c", cells=cells, diversity=spread, notes=["a note of the study"]))
    page = Page(made.page)
    assert "3.1 % of its range" in page.text and "25.0 % (ResNet18)" in page.text
    assert page.row("ResNet18", "ca ×4", "ea")[-1] == "51.0 ± 1.0"
    assert "a note of the study" in page.text
    (chart,) = (picture["alt"] for picture in page.images if picture["alt"].startswith("Several samples"))
    assert "ResNet18, ca: 1: 51.0, 4: 54.0; ResNet18, ca ×4: 1: 51.0, 4: 54.0" in chart


def test_the_curve_of_a_classifier_beside_the_model_is_there(report, tmp_path: Path):
    folder = write_training(tmp_path / "model")
    (folder / "classifier").mkdir()
    (folder / "classifier" / "classifier.csv").write_text("step,loss,validation_loss\n10,2,2\n20,1,1\n")
    assert "classifier: loss" in {picture["alt"].partition(".")[0] for picture in Page(report(folder).page).images}


def test_one_seed_has_no_deviation(report, tmp_path: Path):
    cells = [
        cell("scratch", "resnet18", "c", "e", 0.5, accuracy=accuracy(0.5, None)),
        cell("scratch", "resnet18", "ca", "ea", 0.4, accuracy=accuracy(0.4, None)),
    ]
    made = report(write_classification(tmp_path / "c", cells=cells, comparisons=[]))
    assert Page(made.page).row("ResNet18 from scratch") == ["50.0", "40.0", "−10.0", "–", "+4.1"]


HOSTILE = "<script>alert(1)</script>\"'|`$x_1$ & </td>\n# *x* [a](javascript:b) ![i](j)"


def test_names_in_the_data_are_only_text(report, tmp_path: Path):
    classes = (HOSTILE, "$\\frac{$", "a\u202eb")
    skipped = [{"file": f"/data/{HOSTILE}.png", "reason": "<b>not a picture</b>"}]
    folder = write_evaluation(tmp_path / "e", classes=classes, data=HOSTILE, skipped=skipped)
    content = classification(classes, data=HOSTILE, command=["dimvida", "classify", "--data", HOSTILE])
    made = report(folder, write(tmp_path / "c", "classification.json", content))
    page = Page(made.page)
    assert not page.tags & {"script", "b"} and "<script>" not in made.page
    shown = " ".join(HOSTILE.split())
    assert page.row(shown, "9")[0] == "0.170"
    assert f"/data/{shown}.png: <b>not a picture</b>" in " ".join(page.text.split())
    assert "<script>" not in re.sub(r"```.*?```", "", made.text, flags=re.DOTALL)
    assert "](javascript:" not in re.sub(r"```.*?```", "", made.text, flags=re.DOTALL).replace("\\](javascript:", "")
    assert made.numbers["runs"][0]["content"]["data"] == HOSTILE
    for picture in (made.folder / "images").glob("*.svg"):
        assert "<script" not in picture.read_text()


def test_the_same_results_give_the_same_files(report, tmp_path: Path):
    folders = [write_training(tmp_path / "model"), write_evaluation(tmp_path / "e")]
    first = {path.name: path.read_bytes() for path in report(*folders).folder.rglob("*") if path.is_file()}
    second = {path.name: path.read_bytes() for path in report(*folders).folder.rglob("*") if path.is_file()}
    assert first == second


def test_numbers_that_are_none_are_null(report, tmp_path: Path):
    folder = write_training(tmp_path / "model")
    (folder / "diffusion.csv").write_text("step,loss,validation_loss\n10,nan,inf\n20,0.5,0.25\n")
    content = json.dumps(evaluation()).replace("20.125", "NaN")
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "evaluation.json").write_text(content)
    made = report(folder, tmp_path / "e")
    training, measured = made.numbers["runs"]
    assert training["curves"]["diffusion"] == {"step": [10, 20], "loss": [None, 0.5], "validation_loss": [None, 0.25]}
    assert measured["content"]["known"][0]["scores"]["psnr"]["mean"] is None
    assert Page(made.page).row("PSNR, dB ↑")[:2] == ["–", "22.25 21.66 – 22.84"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("evaluation.json", "{", "damaged, not JSON"),
        ("evaluation.json", "[]", "is not an object"),
        ("evaluation.json", '{"schema": 9}', "schema 9"),
        ("evaluation.json", '{"data": "d"}', "'known' is missing"),
        ("evaluation.json", '{"data": "d", "known": [{"known": "1", "scores": {}}]}', "known[0].known"),
        ("classification.json", '{"data": "d", "classes": [], "cells": [{"id": 1}]}', "cells[0]"),
        ("evaluation.json", json.dumps(evaluation(sheets={"best": "gone.png"})), "gone.png"),
        ("evaluation.json", json.dumps(evaluation(sheets={"best": "../outside.png"})), "outside"),
        ("evaluation.json", json.dumps(evaluation(sheets={"best": "evaluation.json"})), "evaluation.json"),
        ("notes.txt", "", "not a run folder"),
    ],
)
def test_a_folder_that_is_no_run_or_damaged_is_one_line(tmp_path: Path, capsys, name, text, said):
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "outside.png").write_bytes(b"x")
    (folder / name).write_text(text)
    assert run(["report", str(folder), "--out", str(tmp_path / "report")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line and str(tmp_path) in line
    assert not (tmp_path / "report").exists()


def test_no_such_folder_and_a_place_that_cannot_be_written(tmp_path: Path, capsys):
    assert run(["report", str(tmp_path / "gone"), "--out", str(tmp_path / "report")]) == 2
    assert "gone: does not exist" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert run(["report", str(write_solvers(tmp_path / "s")), "--out", str(tmp_path / "file")]) == 2
    assert "--out" in capsys.readouterr().err
