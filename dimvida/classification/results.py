"""``classification.json``: everything that a study found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dimvida.files import atomic_write

RESULTS = "classification.json"
SCHEMA = 1


def write_results(folder: Path, results: dict[str, Any]) -> Path:
    """Write ``classification.json``, unless it says the same already."""
    path = folder / RESULTS
    text = json.dumps({"schema": SCHEMA, "kind": "classification", **results}, indent=1, allow_nan=False) + "\n"
    if not path.exists() or path.read_text() != text:
        atomic_write(path, text)
    return path
