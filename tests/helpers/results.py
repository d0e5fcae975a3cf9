"""Run folders as the commands leave them, made without training anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.objects import VIEWS

CLASSES = ("chair", "table", "lamp")
VERSIONS = {"dimvida": "0.1.0", "torch": "2.14.1", "torchvision": "0.29.1", "python": "3.11.7", "platform": "Linux"}
REASON = "torch-fidelity is not installed; pip install dimvida[fid]"


def write(folder: Path, name: str, content: dict[str, Any]) -> Path:
    """Write one result file; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder


def score(mean: float | None, spread: float = 0.01, count: int = 312) -> dict[str, Any]:
    """A score with its interval."""
    if mean is None:
        return {"mean": None, "standard_error": None, "low": None, "high": None, "count": 0}
    low, high = mean - 1.96 * spread, mean + 1.96 * spread
    return {"mean": mean, "standard_error": spread, "low": low, "high": high, "count": count, "equal": 0}


def scores(known: int) -> dict[str, Any]:
    """Scores of all metrics but FID for a number of known views."""
    return {
        "psnr": score(18 + 2.125 * known, 0.3),
        "ssim": score(0.7 + 0.05 * known),
        "lpips": score(0.2 - 0.03 * known, 0.004),
        "colour": score(0.14 - 0.03 * known, 0.002),
        "fid": score(None),
        "coherence": score(0.6 + 0.07 * known, 0.02),
        "feature_frechet": score(30.0 - 5 * known, 1.0),
    }


def evaluation(classes: Sequence[str] = CLASSES, **changes: Any) -> dict[str, Any]:
    """What ``dimvida evaluate`` writes."""
    content = {
        "schema": 1,
        "kind": "evaluation",
        "command": ["/usr/bin/dimvida", "evaluate", "--data", "my shapes.zip", "--out", "runs/evaluation"],
        "versions": VERSIONS,
        "data": "my shapes.zip",
        "splits": ["test"],
        "objects": 26,
        "classes": list(classes),
        "view_names": list(VIEWS),
        "checkpoint": "f0b8e276aa31" + "0" * 52,
        "solver": "repaint",
        "steps": 10,
        "seed": 0,
        "dtype": "float32",
        "backend": "fused",
        "metrics": {
            name: {"available": True} for name in ("psnr", "ssim", "lpips", "colour", "coherence", "feature_frechet")
        } | {"fid": {"available": False, "reason": REASON}},
        "known": [
            {"known": k, "subsets": 4, "subsets_total": 6 if k == 2 else 4, "objects": 26, "scores": scores(k)}
            for k in (1, 2, 3)
        ],
        "reconstruction": {"scores": {"psnr": score(27.5, 0.2), "ssim": score(0.95)}},
        "reference": {"scores": {"coherence": score(0.91)}},
        "per_view": [{"known": k, "view": v, "scores": scores(k)} for k in (1, 2, 3) for v in VIEWS],
        "per_class": [
            {"known": k, "class": name, "objects": 9, "scores": scores(k)} for k in (1, 2, 3) for name in classes
        ],
        "sheets": {},
        "sheet_metric": "lpips",
        "skipped": [],
    }  # fmt: skip
    return content | changes


def accuracy(mean: float, deviation: float | None = 0.01) -> dict[str, Any]:
    """The accuracies of three seeds."""
    return {"values": [mean - (deviation or 0), mean, mean + (deviation or 0)], "mean": mean, "deviation": deviation}


def cell(table: str, classifier: str, train: str, test: str, mean: float, **changes: Any) -> dict[str, Any]:
    """One cell of a table, with a confusion matrix of three classes."""
    average = changes.get("average", "probabilities" if test == "ea" else "single")
    content = {
        "id": "/".join(map(str, (table, changes.get("group"), classifier, train, test, average, *changes.values()))),
        "table": table,
        "group": None,
        "classifier": classifier,
        "train": train,
        "model": "omega_m" if "ca" in train else "omega_s",
        "budget": "steps",
        "train_steps": 1200,
        "test": test,
        "average": average,
        "views": 4 if test == "ea" else 1,
        "samples_per_view": 1,
        "sampler_steps": 10,
        "accuracy": accuracy(mean),
        "confusion": [[41, 3, 1], [2, 40, 3], [0, 5, 40]],
    }
    return content | changes


def paper_cells(table: str, classifier: str, first: float) -> list[dict[str, Any]]:
    """The cells of one classifier in one of the paper's tables."""
    return [
        cell(table, classifier, "c", "e", first),
        cell(table, classifier, "c", "ea", first + 0.02),
        cell(table, classifier, "c", "ea", first + 0.025, average="logits"),
        cell(table, classifier, "ca", "e", first + 0.015),
        cell(table, classifier, "ca", "ea", first + 0.0375),
        cell(table, classifier, "ca", "ea", first + 0.03, average="logits"),
        cell(table, classifier, "ca", "ea", first + 0.045, budget="epochs", train_steps=4800),
    ]


def beyond_cells() -> list[dict[str, Any]]:
    """Rows of every group beyond the paper."""
    resnet = ("beyond", "resnet18")
    return [
        cell(*resnet, "ca", "ea", 0.86, group="averaging", average="confidence"),
        *(cell(*resnet, "ca", "ea", 0.80 + 0.01 * k, group="samples", samples_per_view=k) for k in (1, 2, 4)),
        *(cell(*resnet, t, "e", 0.83, group="augmentation") for t in ("c+taw", "ca", "ca+taw")),
        *(cell(*resnet, "ca", "ea", 0.80 + 0.01 * k, group="views", views=k) for k in (1, 2, 3, 4)),
        *(cell(*resnet, "ca", "ea", 0.8 + n / 2000, group="steps", sampler_steps=n) for n in (5, 10, 100)),
    ]  # fmt: skip


def classification(classes: Sequence[str] = CLASSES, **changes: Any) -> dict[str, Any]:
    """What ``dimvida classify`` writes."""
    cells = [
        *paper_cells("scratch", "resnet18", 0.81),
        *paper_cells("scratch", "mobilenet-v3-large", 0.72),
        *paper_cells("finetuned", "resnet18", 0.88),
        *beyond_cells(),
    ]
    content = {
        "schema": 1,
        "kind": "classification",
        "command": ["/usr/bin/dimvida", "classify", "--data", "my shapes.zip", "--out", "runs/classification"],
        "versions": VERSIONS,
        "data": "my shapes.zip",
        "checkpoint": "f0b8e276aa31" + "0" * 52,
        "solver": "repaint",
        "steps": 10,
        "seed": 0,
        "classes": list(classes),
        "view_names": list(VIEWS),
        "partitions": {"d": None, "c": 130, "e": 135},
        "coherence": {"mean": 0.67, "standard_error": 0.02, "count": 390},
        "too_weak": False,
        "note": None,
        "cells": cells,
        "comparisons": [
            {"a": cells[0]["id"], "b": cells[4]["id"], "test": "mcnemar", "only_a": 4, "only_b": 19, "p": 0.0026},
            {"a": cells[1]["id"], "b": cells[4]["id"], "test": "mcnemar", "only_a": 1, "only_b": 40, "p": 1e-9},
        ],
    }
    return content | changes


def solvers() -> dict[str, Any]:
    """What ``dimvida bench solvers --json`` writes."""

    def point(solver: str, steps: int, shift: float) -> dict[str, Any]:
        return {
            "solver": solver,
            "steps": steps,
            "psnr_true": {"mean": 20 - 30 / steps + shift, "standard_error": 0.3, "count": 312, "equal": 0},
            "psnr_reference": None,
            "distance_true": 20 + 300 / steps,
            "distance_reference": 10 + 300 / steps - shift,
        }

    entries = [
        {
            "known": known,
            "sets": 4,
            "views_scored": 312,
            "reference": point("euler-maruyama", 250, known),
            "another_draw": point("euler-maruyama", 250, known),
            "points": [point(s, n, known + 0.3 * i) for i, s in enumerate(("ddim", "repaint")) for n in (5, 10, 50)],
        }
        for known in (1, 2)
    ]
    settings = {"data": "my shapes.zip", "splits": ["test"], "objects": 26, "seed": 0, "backend": "fused"}
    return {
        "benchmark": "solvers",
        "schema": 1,
        "complete": True,
        "versions": VERSIONS,
        "settings": settings,
        "known": entries,
        "skipped": [],
    }


def write_solvers(folder: Path) -> Path:
    """A measurement of the solvers."""
    return write(folder, "solvers.json", solvers())
