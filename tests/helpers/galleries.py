"""Outputs of ``dimvida generate`` for galleries: image folders that no model had to make."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

VIEWS = ("front", "right", "back", "left")


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
    write_json(folder / "generation.json", {"schema": 2, "hash": "0", "configuration": configuration})
    count = sum(map(len, classes.values()))
    write_json(
        folder / "report.json",
        {
            "configuration": "0",
            "objects": count,
            "views_generated": 3 * count,
            "objects_left_out": {"all of its views are known": 2},
            "files_left_out": [{"file": "stray.png", "reason": "beside the classes"}],
            "skipped_files": 1,
            "skipped": [{"file": "<b>bad</b>.png", "reason": "damaged <i>or</i> truncated", "source": "chair/bad"}],
            "notes": [{"note": "resized to 16 x 16", "images": 7, "first": "a.png"}],
        },
    )
    return folder


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
