"""Sets of known views, each given in turn, and the views that are generated from them."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from dimvida.errors import InputError
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id_tensor

SUBSETS = 100
"""Sets of known views of one size, unless there are fewer."""

SUBSET_LIMIT = 1000
"""Sets of one size that are all given, where no sample of them is asked for."""


def view_subsets(views: int, known: int, most: int | None = None, seed: int = 0) -> list[tuple[int, ...]]:
    """Sets of ``known`` of ``views`` views, in the order of ``itertools.combinations``.

    Args:
        views: V.
        known: Views of a set.
        most: Where there are more sets, so many different ones are drawn at random; None takes all of them.
        seed: Seed of the draw.

    Raises:
        InputError: There is no set with something left to generate, or there are too many and ``most`` is None.
    """
    if not 1 <= known < views:
        raise InputError(f"--known {known}: must be between 1 and {views - 1}, with {views} views")
    total = math.comb(views, known)
    if most is None and total > SUBSET_LIMIT:
        raise InputError(f"--known {known}: {total} subsets of {views} views are too many")
    if most is None or total <= most:
        return list(itertools.combinations(range(views), known))
    places = random.Random(f"subsets {seed} {views} {known}").sample(range(total), most)
    return [_combination(views, known, place) for place in sorted(places)]


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
        chosen: The sets, see ``view_subsets``.
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
