"""Folders that a report is of: names that are only text, numbers that are none, and what is refused in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.results import classification, evaluation, write, write_solvers

from dimvida.cli.app import run

from .conftest import Page, write_evaluation, write_training

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
