"""Sets of known views, generation from each of them, and means over the pictures that it gives.

For k known views every set of k views, or a sample of them, is given in turn and the other V - k are generated.
Pictures of one object are not independent, so the standard error of a mean is that of a mean over objects.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dimvida.errors import InputError
from dimvida.evaluation.estimates import ratio_of_sums
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id_tensor

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


def subsets(views: int, known: int) -> list[tuple[int, ...]]:
    """Every set of ``known`` of ``views`` views.

    Raises:
        InputError: There is none with something left to generate, or there are too many.
    """
    _check_known(views, known)
    if math.comb(views, known) > SUBSET_LIMIT:
        raise InputError(f"--known {known}: {math.comb(views, known)} subsets of {views} views are too many")
    return list(itertools.combinations(range(views), known))


def sample_subsets(views: int, known: int, most: int, seed: int) -> list[tuple[int, ...]]:
    """Every set of ``known`` of ``views`` views, or ``most`` different ones drawn at random if there are more.

    The same arguments give the same sets, in the order of ``itertools.combinations``.

    Raises:
        InputError: There is none with something left to generate.
    """
    _check_known(views, known)
    total = math.comb(views, known)
    if total <= most:
        return list(itertools.combinations(range(views), known))
    places = random.Random(f"subsets {seed} {views} {known}").sample(range(total), most)
    return [_combination(views, known, place) for place in sorted(places)]


def _combination(views: int, known: int, place: int) -> tuple[int, ...]:
    """The combination at a place of ``itertools.combinations(range(views), known)``, without making those before."""
    chosen: list[int] = []
    for view in range(views):
        with_view = math.comb(views - view - 1, known - len(chosen) - 1) if len(chosen) < known else 0
        if place < with_view:
            chosen.append(view)
        else:
            place -= with_view
    return tuple(chosen)


def _check_known(views: int, known: int) -> None:
    if not 1 <= known < views:
        raise InputError(f"--known {known}: must be between 1 and {views - 1}, with {views} views")


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
        chosen: The sets, see ``subsets`` and ``sample_subsets``.
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


def mean_score(values: Tensor) -> Score:
    """The score of per-picture values, float64 [N, P]: N objects with P pictures each."""
    finite = values.isfinite()
    sums, counts = torch.where(finite, values, 0.0).sum(1), finite.sum(1)
    pictures = int(counts.sum())
    return Score(*ratio_of_sums(sums, counts), pictures, values.numel() - pictures)
