"""What ``dimvida evaluate`` prints: tables that fit 80 columns, and notes on how to read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from dimvida.cli.terminal import console, is_quiet, new_table, plus_minus, print_wrapped
from dimvida.results.metrics import MINUS, Metric, in_order, metric

if TYPE_CHECKING:
    from pathlib import Path

    from dimvida.evaluation.estimates import Estimate
    from dimvida.evaluation.protocol import KnownCountScores, ModelEvaluation
    from dimvida.evaluation.scores import Scores
    from dimvida.models.classifiers import ImageClassifier

FID_PICTURES = 2048  # its features: fewer pictures leave their covariance singular

SIMILARITY = ("psnr", "ssim", "lpips")
JUDGEMENT = ("fid", "coherence", "feature_frechet")
CEILING, TRUE = "ceiling", "true views"


def print_judge(judge: ImageClassifier, folder: Path, image_size: int) -> None:
    """What judges coherence, before it does."""
    config = judge.config
    kind = {1: " gray", 3: " RGB"}.get(config.channels, "")
    size = f"trained on{kind} images of {config.image_size} x {config.image_size} pixels"
    if not config.image_size:
        size = f"which does not say what size it was trained at and is shown {image_size} x {image_size} pixels"
    elif config.image_size != image_size:
        size += f", to which those of {image_size} x {image_size} are brought"
    print_wrapped(f"judge: {folder}, a {config.name} of {len(config.classes)} classes, {size}")


def judge_to_dict(judge: ImageClassifier) -> dict[str, Any]:
    """What an evaluation says of its judge."""
    config = judge.config
    return {"name": config.name, "classes": list(config.classes), "image_size": config.image_size or None}


def print_scores(evaluation: ModelEvaluation) -> None:
    """The scores by number of known views, with the ceiling and what is known of the true views."""
    measured = evaluation.reconstruction
    title = f"mean over views {plus_minus()} half of the 95 % interval"
    for names in (SIMILARITY, JUDGEMENT):
        shown = [name for name in names if name in measured]
        if not shown:
            continue
        table = _table(title, ("known", "sets", "views"), shown)
        for entry in evaluation.known:
            pictures = max(estimate.count + (estimate.equal or 0) for estimate in entry.scores.values())
            table.add_row(str(entry.known), _sets(entry), str(pictures), *_cells(entry.scores, shown))
        table.add_row(CEILING, "", "", *_cells(measured, shown))
        if any(name in evaluation.reference for name in shown):
            table.add_row(TRUE, "", "", *_cells(evaluation.reference, shown))
        console().print(table)


def print_views(evaluation: ModelEvaluation, view_names: Sequence[str]) -> None:
    """The scores of every view by itself."""
    rows = [
        (entry.known, name, scores)
        for entry in evaluation.known
        for name, scores in zip(view_names, entry.per_view, strict=True)
    ]
    _print_breakdown("view", rows)


def print_classes(evaluation: ModelEvaluation, classes: Sequence[str]) -> None:
    """The scores of every class by itself."""
    rows = [
        (entry.known, classes[label], scores) for entry in evaluation.known for label, scores in entry.per_class.items()
    ]
    _print_breakdown("class", rows)


def print_note(text: str) -> None:
    """A wrapped note, where notes are wanted."""
    if not is_quiet():
        print_wrapped(f"note: {text}")


def print_notes(evaluation: ModelEvaluation, reasons: dict[str, str]) -> None:
    """What a reader has to know: drawn sets, few pictures, equal pictures, metrics that are not there."""
    for entry in evaluation.known:
        if len(entry.subsets) < entry.subsets_total:
            print_note(
                f"{entry.known} known: {len(entry.subsets)} of {entry.subsets_total} sets, drawn at random (--subsets)"
            )
        fid = entry.scores.get("fid")
        if fid is not None and fid.count < FID_PICTURES:
            print_note(
                f"{entry.known} known: FID of {fid.count} pictures; with fewer than {FID_PICTURES} it is far too high "
                "and compares only with FID of as many"
            )
    psnr = [scores["psnr"] for scores in _all(evaluation) if "psnr" in scores]
    equal = sum(estimate.equal or 0 for estimate in psnr)
    if equal:
        print_note(f"{equal} views equal the true ones exactly; PSNR is infinite there and leaves them out")
    for name, reason in reasons.items():
        print_wrapped(f"not available: {metric(name).short}: {reason}")


def _print_breakdown(kind: str, rows: Sequence[tuple[int, str, Scores]]) -> None:
    if not rows:
        return
    shown = in_order(rows[0][2])
    for names in ([name for name in shown if name in SIMILARITY], [name for name in shown if name in JUDGEMENT]):
        if not names:
            continue
        table = _table(f"by {kind}", ("known", kind, "views"), names)
        for known, name, scores in rows:
            pictures = max(estimate.count + (estimate.equal or 0) for estimate in scores.values())
            if pictures:
                table.add_row(str(known), name, str(pictures), *_cells(scores, names))
        console().print(table)


def _table(title: str, first: Sequence[str], names: Sequence[str]) -> Table:
    table = new_table(title=title)
    for heading in first:
        table.add_column(heading, justify="right")
    for name in names:
        table.add_column(metric(name).short_heading, justify="right", no_wrap=True)
    return table


def _sets(entry: KnownCountScores) -> str:
    drawn = len(entry.subsets)
    return str(drawn) if drawn == entry.subsets_total else f"{drawn} of {entry.subsets_total}"


def _cells(scores: Scores, names: Sequence[str]) -> list[str]:
    return [_cell(scores[name], metric(name)) if name in scores else "" for name in names]


def _cell(estimate: Estimate, shown: Metric) -> str:
    if math.isnan(estimate.mean):
        return "-"
    half = estimate.half_width
    text = shown.number(estimate.mean) + ("" if math.isnan(half) else f" {plus_minus()} {shown.number(half)}")
    return text.replace(MINUS, "-")


def _all(evaluation: ModelEvaluation) -> list[Scores]:
    return [*(entry.scores for entry in evaluation.known), evaluation.reconstruction]
