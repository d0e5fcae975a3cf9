"""``classification.json``: everything that a study found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from dimvida.classification.cells import Cell, compare
from dimvida.files import atomic_write

RESULTS = "classification.json"
SCHEMA = 1


def cell_results(cells: Sequence[Cell], labels: Tensor, classes: int) -> dict[str, Any]:
    """The cells and how they compare, for JSON.

    Args:
        cells: Filled ones.
        labels: True labels of e, int64 [N].
        classes: How many classes there are.
    """
    return {"cells": [cell.to_dict(labels, classes) for cell in cells], "comparisons": compare(cells, labels)}


def write_results(folder: Path, results: dict[str, Any]) -> Path:
    """Write ``classification.json``, unless it says the same already."""
    path = folder / RESULTS
    text = json.dumps({"schema": SCHEMA, "kind": "classification", **results}, indent=1, allow_nan=False) + "\n"
    if not path.exists() or path.read_text() != text:
        atomic_write(path, text)
    return path
