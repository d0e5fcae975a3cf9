"""The folder of an evaluation: ``evaluation.json`` and ``sheets/{best,median,worst}.png``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dimvida.errors import InputError
from dimvida.evaluation.protocol import ModelEvaluation
from dimvida.evaluation.scores import Scores
from dimvida.files import atomic_path, atomic_write

if TYPE_CHECKING:
    from PIL import Image

FILE, SHEETS = "evaluation.json", "sheets"


def scores_to_dict(
    evaluation: ModelEvaluation, view_names: Sequence[str], classes: Sequence[str], labels: Tensor
) -> dict[str, Any]:
    """The scores of ``evaluation.json``, without NaN.

    Args:
        evaluation: What was measured.
        view_names: Names of the V views.
        classes: Names of the data's classes.
        labels: int64 [N], the objects' classes; -1 for none.
    """
    known, per_view, per_class = [], [], []
    for entry in evaluation.known:
        count = {"known": entry.known}
        numbers = {"subsets": len(entry.subsets), "subsets_total": entry.subsets_total, "objects": len(labels)}
        known.append({**count, **numbers, "scores": _plain(entry.scores)})
        for name, scores in zip(view_names, entry.per_view, strict=True):
            per_view.append({**count, "view": name, "scores": _plain(scores)})
        for label, scores in entry.per_class.items():
            objects = int((labels == label).sum())
            per_class.append({**count, "class": classes[label], "objects": objects, "scores": _plain(scores)})
    return {
        "known": known,
        "reconstruction": {"scores": _plain(evaluation.reconstruction)},
        "reference": {"scores": _plain(evaluation.reference)},
        "per_view": per_view,
        "per_class": per_class,
    }


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Raise InputError if the folder holds an evaluation that must not be replaced, or is none."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: is not a folder")
    if (folder / FILE).exists() and not overwrite:
        raise InputError(f"--out {folder}: holds an evaluation already; choose another folder, or add --overwrite")


def write_evaluation(folder: Path, document: Mapping[str, Any], sheets: Mapping[str, Image.Image]) -> None:
    """Write an evaluation, in place of one that is there. ``evaluation.json`` is written last: with it, it is whole.

    Args:
        folder: Made if it is not there.
        document: What ``evaluation.json`` holds; ``sheets`` is added.
        sheets: Pictures by name.

    Raises:
        InputError: It cannot be written.
    """
    try:
        (folder / SHEETS).mkdir(parents=True, exist_ok=True)
        (folder / FILE).unlink(missing_ok=True)
        for old in (folder / SHEETS).glob("*.png"):
            old.unlink()
        for name, sheet in sheets.items():
            with atomic_path(folder / SHEETS / f"{name}.png") as temporary:
                sheet.save(temporary)
        paths = {name: f"{SHEETS}/{name}.png" for name in sheets}
        atomic_write(folder / FILE, json.dumps({**document, "sheets": paths}, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written ({error.strerror or error})") from error


def _plain(scores: Scores) -> dict[str, Any]:
    return {name: estimate.to_dict() for name, estimate in scores.items()}
