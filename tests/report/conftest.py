"""Reports of results that no command had to make, and an output of generate that no model had to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.objects import VIEWS
from helpers.results import classification, evaluation, write, write_solvers
from PIL import Image

from dimvida.cli.app import run


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


class Report:
    """The files of a report."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.page = (folder / "report.html").read_text()
        self.text = (folder / "report.md").read_text()
        self.numbers: dict[str, Any] = json.loads((folder / "report.json").read_text())


def write_output(
    folder: Path, classes: Mapping[str, Sequence[str]], *, include_known: bool = True, size: int = 16
) -> Path:
    """An image folder with the views of objects, by class; the front ones were given. Each picture has a colour."""
    lines, colours = [], np.random.default_rng(0)
    for place, (class_name, names) in enumerate(classes.items()):
        (folder / f"class{place}").mkdir(parents=True)
        for name in names:
            for view in VIEWS if include_known else VIEWS[1:]:
                file = f"class{place}/{name}__{view}.png"
                colour = tuple(colours.integers(0, 256, 3).tolist())
                Image.new("RGB", (size, size), colour).save(folder / file)
                kind = "real" if view == "front" else "generated"
                line = {"file_name": file, "source": f"{class_name}/{name}", "view": view, "kind": kind}
                lines.append({**line, "label": class_name, "known": ["front"]})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    configuration = {
        "version": "0.1.0", "checkpoint": "ab" * 32, "view_names": list(VIEWS), "image_size": size, "steps": 5,
        "solver": "ddim", "seed": 0, "include_known": include_known, "format": "imagefolder",
    }  # fmt: skip
    generation = {"schema": 2, "hash": "0", "configuration": configuration}
    (folder / "generation.json").write_text(json.dumps(generation), encoding="utf-8")
    count = sum(map(len, classes.values()))
    report = {
        "configuration": "0",
        "objects": count,
        "views_generated": 3 * count,
        "objects_left_out": {"all of its views are known": 2},
        "files_left_out": [{"file": "stray.png", "reason": "beside the classes"}],
        "skipped_files": 1,
        "skipped": [{"file": "<b>bad</b>.png", "reason": "damaged <i>or</i> truncated", "source": "chair/bad"}],
        "notes": [{"note": "resized to 16 x 16", "images": 7, "first": "a.png"}],
    }
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return folder


def write_training(folder: Path, **changes: Any) -> Path:
    """What ``dimvida train`` leaves: its description and two learning curves."""
    content = {
        "configuration": {"seed": 0},
        "data": {"name": "my shapes.zip", "form": "zip", "split": "train", "partition": None},
        "skipped": [],
        "init": None,
        "stages": {"autoencoder": "00", "diffusion": "11"},
    }
    write(folder, "run.json", content | changes)
    for stage in ("autoencoder", "diffusion"):
        rows = [f"{step},{step / 100},{5 / step},0.001,{step / 10},{6 / step}" for step in range(10, 400, 10)]
        header = "step,epoch,loss,lr,seconds,validation_loss"
        (folder / f"{stage}.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def write_evaluation(folder: Path, **changes: Any) -> Path:
    """An evaluation with its three contact sheets."""
    (folder / "sheets").mkdir(parents=True)
    for number, name in enumerate(("best", "median", "worst")):
        pixels = np.random.default_rng(number).integers(0, 256, (120, 900, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "sheets" / f"{name}.png")
    names = {name: f"sheets/{name}.png" for name in ("best", "median", "worst")}
    return write(folder, "evaluation.json", evaluation(**{"sheets": names} | changes))


def write_classification(folder: Path, **changes: Any) -> Path:
    """A classification."""
    return write(folder, "classification.json", classification(**changes))


def make_report(out: Path, *folders: Path, options: Sequence[str] = ()) -> Report:
    """The report of some folders, through the command."""
    assert run(["report", *map(str, folders), "--out", str(out), *options]) == 0
    return Report(out)


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Report]:
    """Makes the report of some folders."""
    return partial(make_report, tmp_path / "report")


@pytest.fixture(scope="module")
def full_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report of everything; only to be read."""
    root = tmp_path_factory.mktemp("full")
    folders = (
        write_training(root / "model"),
        write_evaluation(root / "evaluation"),
        write_classification(root / "classification"),
        write_solvers(root / "solvers"),
    )
    return make_report(root / "report", *folders)
