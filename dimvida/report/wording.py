"""How figures and the names of things are written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from dimvida.report.document import Cell
from dimvida.report.records import Accuracy, ClassifierCell, Score
from dimvida.results.metrics import ACCURACY, DASH, metric

CLASSIFIERS = {
    "resnet18": "ResNet18",
    "mobilenet-v3-large": "MobileNetV3-Large",
    "mobilenet-v3-small": "MobileNetV3-Small",
}
TABLES = {"scratch": "from scratch", "finetuned": "fine-tuned"}
AVERAGES = {
    "single": "single view",
    "probabilities": "mean of probabilities",
    "logits": "mean of logits",
    "confidence": "weighted by confidence",
}
MODELS = {"omega_s": "Ωs", "omega_m": "Ωm"}
TERMS = (
    "Every object has one real view; the model generates the others. Ωs is a classifier trained on the real views "
    "alone (training set c), Ωm one trained on the real and the generated views (ca). Each is tested on other objects: "
    "on their real view (e), and by the mean of its outputs over their real and generated views (ea)."
)


def score_cell(name: str, score: Score | None) -> Cell:
    """A score with its 95 % interval, or a dash."""
    if score is None or score.mean is None:
        return Cell(DASH)
    shown = metric(name)
    interval = bounds(score)
    detail = "" if interval is None else " – ".join(map(shown.number, interval))
    return Cell(shown.number(score.mean), detail)


def bounds(score: Score) -> tuple[float, float] | None:
    """The 95 % interval, from the standard error where it is not given."""
    if score.low is not None and score.high is not None:
        return score.low, score.high
    if score.mean is None or score.standard_error is None:
        return None
    return score.mean - 1.96 * score.standard_error, score.mean + 1.96 * score.standard_error


def accuracy_cell(accuracy: Accuracy | None) -> Cell:
    """An accuracy in percent with its deviation over the seeds, or a dash."""
    if accuracy is None or accuracy.mean is None:
        return Cell(DASH)
    detail = "" if accuracy.deviation is None else f"± {ACCURACY.number(accuracy.deviation)}"
    return Cell(ACCURACY.number(accuracy.mean), detail)


def classifier_name(name: str) -> str:
    """A classifier's name as people write it."""
    return CLASSIFIERS.get(name, name)


def cell_name(cell: ClassifierCell) -> str:
    """A cell in words, such as ``ResNet18 from scratch, ca on ea (mean of probabilities)``."""
    kind = TABLES.get(cell.table, cell.group or cell.table)
    extra = [AVERAGES.get(cell.average, cell.average)] if cell.average != "single" else []
    if cell.table == "beyond":
        extra += [f"{cell.views} views"] if cell.views else []
        extra += [f"{cell.samples_per_view} samples"] if (cell.samples_per_view or 1) > 1 else []
        extra += [f"{cell.sampler_steps} steps"] if cell.sampler_steps else []
    extra += ["equal epochs"] if cell.budget == "epochs" else []
    words = f"{classifier_name(cell.classifier)} {kind}, {trained_on(cell)} on {cell.test}"
    return words + (f" ({', '.join(extra)})" if extra else "")


def command_line(arguments: Sequence[str]) -> str:
    """A command line as one types it, however the program was started."""
    if not arguments:
        return ""
    program, *rest = arguments
    if PurePath(program).name in ("dimvida", "__main__.py"):
        program = "dimvida"
    elif program.startswith("-"):
        program, rest = "dimvida", list(arguments)
    return shlex.join([program, *rest])


def skipped_line(entry: Any) -> str:
    """One entry of a list of what was skipped."""
    if isinstance(entry, dict):
        place = next((str(entry[name]) for name in ("file", "location", "id") if name in entry), "")
        return ": ".join(filter(None, (place, str(entry.get("reason", "")))))
    return str(entry)


def slug(*words: str) -> str:
    """A file's name of some words, of letters, digits, dots, dashes and underscores only."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(words))


def trained_on(cell: ClassifierCell) -> str:
    """A training set in short, with the number of samples of each generated view if there are several."""
    return cell.train + (f" ×{cell.train_samples_per_view}" if cell.train_samples_per_view > 1 else "")
