"""How close generated views are to the true ones, by how many views are known.

For k known views every subset of k views is given in turn and the other V - k are generated. A score is the
mean over all generated pictures: (objects) x (subsets of size k) x (V - k). Pictures of one object are not
independent, so its standard error is that of a mean over objects.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from dimvida.errors import InputError
from dimvida.evaluation.metrics import psnr, ssim
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.noise import sample_id_tensor

SUBSET_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Score:
    """A mean over pictures.

    Attributes:
        mean: Over those pictures that have a finite value.
        standard_error: Of the mean, with objects as the independent units; NaN for a single object.
        pictures: How many the mean is over.
        equal: Pictures left out because they equal the true ones exactly, where PSNR is infinite.
    """

    mean: float
    standard_error: float
    pictures: int
    equal: int = 0


@dataclass(frozen=True, slots=True)
class ViewScores:
    """Scores for one number of known views.

    Attributes:
        known: Number of known views; V stands for the autoencoder's reconstruction of every view.
        subsets: Sets of that many known views.
        psnr: In dB.
        ssim: At most 1.
    """

    known: int
    subsets: int
    psnr: Score
    ssim: Score

    def to_dict(self) -> dict[str, Any]:
        """For JSON, where NaN has no place: None instead."""
        values = asdict(self)
        for name in ("psnr", "ssim"):
            values[name] = {key: value if math.isfinite(value) else None for key, value in values[name].items()}
        return values


def subsets(views: int, known: int) -> list[tuple[int, ...]]:
    """Every set of ``known`` of ``views`` views.

    Raises:
        InputError: There is none with something left to generate, or there are too many.
    """
    if not 1 <= known < views:
        raise InputError(f"--known {known}: must be between 1 and {views - 1}, with {views} views")
    if math.comb(views, known) > SUBSET_LIMIT:
        raise InputError(f"--known {known}: {math.comb(views, known)} subsets of {views} views are too many")
    return list(itertools.combinations(range(views), known))


def score_known(
    model: MultiViewModel,
    images: Tensor,
    ids: Sequence[str],
    known: int,
    *,
    batch: int,
    steps: int | None = None,
    solver: str | None = None,
    seed: int = 0,
    backend: str = "auto",
    dtype: torch.dtype | None = None,
    progress: Callable[[int], object] = lambda objects: None,
) -> ViewScores:
    """Generate and score all views that ``known`` given views leave open, see ``complete_subsets``.

    Args:
        model: What is evaluated.
        images: Complete objects, uint8 [N, V, C, H, W].
        ids: Their ids, which the noise belongs to.
        known: How many views are given.
        batch: Objects at a time.
        steps, solver, seed, backend, dtype: See ``MultiViewModel.generate``.
        progress: Called with the number of objects after each batch.

    Raises:
        InputError: For a number of known views that does not fit.
    """
    values: list[tuple[Tensor, Tensor]] = []
    chosen = subsets(images.shape[1], known)
    sampling = {"steps": steps, "solver": solver, "seed": seed, "backend": backend, "dtype": dtype}
    for given, rows, completed in complete_subsets(model, images, ids, chosen, batch=batch, **sampling):
        values.append(_compare(completed[:, ~given], images[rows][:, ~given]))
        progress(len(completed))
    return _summarise(known, len(chosen), len(images), values)


def complete_subsets(
    model: MultiViewModel,
    images: Tensor,
    ids: Sequence[str],
    chosen: Sequence[tuple[int, ...]],
    *,
    batch: int,
    **sampling: Any,
) -> Iterator[tuple[Tensor, slice, Tensor]]:
    """Give every set of views in turn and generate the others, batch by batch.

    Every set starts from the same noise of an object, so differences between them are not chance.

    Args:
        model: What generates.
        images: Complete objects, uint8 [N, V, C, H, W].
        ids: Their ids, which the noise belongs to.
        chosen: The sets, see ``subsets``.
        batch: Objects at a time.
        sampling: Further arguments of ``MultiViewModel.generate``.

    Yields:
        The given views, bool [V]; the objects; all their views, uint8 [b, V, C, H, W].
    """
    for subset in chosen:
        given = torch.zeros(images.shape[1], dtype=torch.bool)
        given[list(subset)] = True
        for start in range(0, len(images), batch):
            rows = slice(start, min(start + batch, len(images)))
            part = images[rows]
            sample_ids = sample_id_tensor(ids[rows])
            yield given, rows, model.generate(part, given.expand(len(part), -1), sample_ids=sample_ids, **sampling)


def score_reconstruction(model: MultiViewModel, images: Tensor, *, batch: int) -> ViewScores:
    """What the autoencoder makes of every view: no generated view can be expected to be closer.

    Over all subsets of one size each view is generated equally often, so this mean over all views is the
    ceiling for every number of known views.
    """
    values = []
    for part in images.split(batch):
        decoded = (model.decode(model.encode(part)) * 255).round().to(torch.uint8)
        values.append(_compare(decoded.cpu(), part))
    return _summarise(images.shape[1], 1, len(images), values)


def _compare(images: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """PSNR and SSIM, each float64 [B, M], of uint8 [B, M, C, H, W]."""
    flat = images.flatten(0, 1), references.flatten(0, 1)
    shape = images.shape[:2]
    return psnr(*flat).unflatten(0, shape), ssim(*flat).unflatten(0, shape)


def _summarise(known: int, count: int, objects: int, values: list[tuple[Tensor, Tensor]]) -> ViewScores:
    # Batches come subset by subset; beside each other, all of an object's pictures are in one row.
    scores = []
    for metric in zip(*values, strict=True):
        rows = torch.cat(metric)  # [subsets * N, M]
        scores.append(mean_score(rows.unflatten(0, (-1, objects)).transpose(0, 1).flatten(1)))
    return ViewScores(known, count, *scores)


def mean_score(values: Tensor) -> Score:
    """The score of per-picture values, float64 [N, P]: N objects with P pictures each."""
    finite = values.isfinite()
    sums = torch.where(finite, values, 0.0).sum(1)
    counts = finite.sum(1)
    pictures = int(counts.sum())
    if pictures == 0:
        return Score(math.nan, math.nan, 0, values.numel())
    mean = sums.sum() / pictures
    objects = len(values)
    # Of a ratio of sums over objects; where all have P pictures, that of the mean of their means.
    spread = (sums - mean * counts).square().sum()
    error = (spread * objects / (objects - 1)).sqrt() / pictures if objects > 1 else torch.tensor(math.nan)
    return Score(float(mean), float(error), pictures, values.numel() - pictures)
