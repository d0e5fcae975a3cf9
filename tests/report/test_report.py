"""What a report shows of the results, what it says of those that are missing, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.results import REASON, accuracy, cell, evaluation, score, write, write_solvers

from .conftest import Page, write_classification, write_evaluation, write_training

SECTIONS = ("summary", "generation", "classification", "beyond", "comparisons", "confusion", "solvers", "training")


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


def test_the_same_results_give_the_same_files(report, tmp_path: Path):
    folders = [write_training(tmp_path / "model"), write_evaluation(tmp_path / "e")]
    first = {path.name: path.read_bytes() for path in report(*folders).folder.rglob("*") if path.is_file()}
    second = {path.name: path.read_bytes() for path in report(*folders).folder.rglob("*") if path.is_file()}
    assert first == second
