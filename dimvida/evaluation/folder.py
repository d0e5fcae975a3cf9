"""The folder of an evaluation: contact sheets of the objects completed best, worst and in between, and its result.

evaluation.json                                        the scores; written last
sheets/best.png, sheets/median.png, sheets/worst.png
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dimvida.data.batch import MultiViewBatch
from dimvida.data.contact_sheet import SheetRow, draw_contact_sheet
from dimvida.data.sheets import view_tiles
from dimvida.errors import InputError
from dimvida.evaluation.protocol import ModelEvaluation, complete_subsets
from dimvida.files import atomic_path
from dimvida.results.files import write_result
from dimvida.results.metrics import METRICS
from dimvida.results.schema import EvaluationResult
from dimvida.sampling.multiview import MultiViewModel

SHEETS = "sheets"
ROWS = 6
"""Objects on a sheet."""


def rank_objects(means: Tensor, metric: str) -> dict[str, list[int]]:
    """Objects for each sheet, ``ROWS`` or all if there are fewer, each list from better to worse.

    Args:
        means: The metric's mean of every object, float64 [N].
        metric: Its name; ``dimvida.results.metrics`` says which direction is better.
    """
    order = torch.argsort(means, descending=METRICS[metric].better == "higher", stable=True).tolist()
    rows = min(ROWS, len(order))
    middle = (len(order) - rows) // 2
    return {"best": order[:rows], "median": order[middle : middle + rows], "worst": order[len(order) - rows :]}


def draw_sheets(
    model: MultiViewModel,
    objects: MultiViewBatch,
    classes: Sequence[str],
    evaluation: ModelEvaluation,
    **sampling: Any,
) -> dict[str, Image.Image]:
    """A sheet for the best, the median and the worst objects: of each its true views and, below, its completion.

    Objects are ranked by their mean over all sets of known views; shown is the completion from the first set, which is
    generated again, with the noise that it had.

    Args:
        model: The model that was evaluated.
        objects: The complete objects that it was evaluated on.
        classes: Names of their classes.
        evaluation: Its scores; objects are ranked by those at the fewest known views.
        sampling: ``cameras``, ``steps``, ``solver``, ``seed``, ``backend`` and ``dtype``, as for ``evaluate_model``.

    Returns:
        Sheets by the names ``best``, ``median`` and ``worst``; none without a metric to rank objects by.
    """
    if evaluation.ranked is None:
        return {}
    metric = METRICS[evaluation.ranked]
    known = min(evaluation.object_means)
    given, means = evaluation.subsets[known][0], evaluation.object_means[known]
    kinds = ["given" if view in given else "generated" for view in range(len(objects.view_names))]
    names = " + ".join(objects.view_names[view] for view in given)
    sheets = {}
    for name, chosen in rank_objects(means, metric.name).items():
        images, ids = objects.images[chosen], [objects.ids[place] for place in chosen]
        ((_, _, completed),) = complete_subsets(model, images, ids, [given], batch=len(ids), **sampling)
        rows = []
        for place, true, views in zip(chosen, images, completed, strict=True):
            score = metric.quantity(means[place].item())
            number = objects.labels[place].item()
            title = [objects.ids[place].rpartition("/")[2], *([classes[number]] if number >= 0 else [])]
            rows.append(SheetRow("\n".join(title), view_tiles(true, objects.view_names, "true")))
            rows.append(SheetRow(f"{metric.short} {score}", view_tiles(views, objects.view_names, kinds)))
        header = f"{name.capitalize()} by {metric.short} at {known} known, completed from {names}"
        sheets[name] = draw_contact_sheet(rows, header=header)
    return sheets


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Raise InputError if the folder holds an evaluation that must not be replaced, or is none."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: is not a folder")
    if (folder / EvaluationResult.file).exists() and not overwrite:
        raise InputError(f"--out {folder}: holds an evaluation already; choose another folder, or add --overwrite")


def write_evaluation(folder: Path, result: EvaluationResult, sheets: Mapping[str, Image.Image]) -> None:
    """Write an evaluation, in place of one that is there. ``evaluation.json`` is written last: with it, it is whole.

    Args:
        folder: Made if it is not there.
        result: What ``evaluation.json`` holds; ``sheets`` is added.
        sheets: Contact sheets by name.

    Raises:
        InputError: It cannot be written.
    """
    try:
        (folder / SHEETS).mkdir(parents=True, exist_ok=True)
        (folder / EvaluationResult.file).unlink(missing_ok=True)
        for old in (folder / SHEETS).glob("*.png"):
            old.unlink()
        for name, sheet in sheets.items():
            with atomic_path(folder / SHEETS / f"{name}.png") as temporary:
                sheet.save(temporary)
        paths = {name: f"{SHEETS}/{name}.png" for name in sheets}
        write_result(folder / EvaluationResult.file, dataclasses.replace(result, sheets=paths))
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written ({error.strerror or error})") from error
