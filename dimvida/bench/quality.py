"""Quality against network evaluations: what a faster solver costs.

The yardstick is the paper's sampler with many steps, Euler-Maruyama with 250, of the same model on the same inputs.
Two of its draws differ as much as noise makes them; a solver that is no further from one draw than another draw is
has lost nothing that can be seen in this way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimvida.evaluation.estimates import Estimate, Tally
from dimvida.evaluation.frechet import latent_frechet_distance, picture_latents
from dimvida.evaluation.metrics import psnr
from dimvida.evaluation.protocol import complete_subsets, view_subsets
from dimvida.files import atomic_path
from dimvida.sampling.loop import SEED_LIMIT
from dimvida.sampling.multiview import MultiViewModel

REFERENCE_SOLVER = "euler-maruyama"
REFERENCE_STEPS = 250


@dataclass(frozen=True, slots=True)
class SampledViews:
    """What one way of sampling made of all objects from every set of known views.

    Attributes:
        images: uint8 [N, P, C, H, W]: for each object, set by set, the views that were not given.
        latents: Their standardised latents, float32 [N, P, D].
    """

    images: Tensor
    latents: Tensor


@dataclass(frozen=True, slots=True)
class Quality:
    """How good the views are that one solver makes with one number of evaluations.

    Attributes:
        solver: Solver name.
        steps: Network evaluations.
        psnr_true: In dB, against the true views.
        psnr_reference: In dB, against the reference's views of the same inputs and seed; None for the reference.
        distance_true: Latent Fréchet distance to the true views.
        distance_reference: The same to the reference's views; None for the reference.
    """

    solver: str
    steps: int
    psnr_true: Estimate
    psnr_reference: Estimate | None
    distance_true: float
    distance_reference: float | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON, where NaN has no place: None instead."""
        scores = {"psnr_true": self.psnr_true, "psnr_reference": self.psnr_reference}
        return {**asdict(self), **{name: score and _score_to_dict(score) for name, score in scores.items()}}


class QualityBench:
    """Measures solvers on one set of objects with one number of known views.

    Args:
        model: What is sampled.
        images: Complete objects, uint8 [N, V, C, H, W].
        ids: Their ids, which the noise belongs to.
        known: How many views are given; every set of that many in turn.
        batch: Objects at a time.
        seed: Of the noise.
        backend, dtype: Of what is measured, see ``MultiViewModel.generate``. The reference is in float32.
        progress: Called with the number of rows times steps after each batch.

    Attributes:
        subsets: The sets of known views.
        views: Which view each picture of an object shows.
        true: The true views in the same arrangement.

    Raises:
        InputError: For a number of known views that does not fit.
    """

    def __init__(
        self,
        model: MultiViewModel,
        images: Tensor,
        ids: Sequence[str],
        known: int,
        *,
        batch: int,
        seed: int = 0,
        backend: str = "auto",
        dtype: torch.dtype | None = None,
        progress: Callable[[int], object] = lambda evaluations: None,
    ) -> None:
        self.model, self.images, self.ids = model, images, ids
        self.batch, self.seed, self.backend, self.dtype = batch, seed, backend, dtype
        self.progress = progress
        self.subsets = view_subsets(images.shape[1], known)
        self.views = [view for subset in self.subsets for view in range(images.shape[1]) if view not in subset]
        latents = picture_latents(model, images, batch)
        self.true = SampledViews(images[:, self.views], latents[:, self.views])
        self._reference: SampledViews | None = None

    def measure_reference(self, steps: int) -> Quality:
        """Make the reference's views, which every other measurement is compared with, and score them."""
        self._reference = self._generate(REFERENCE_SOLVER, steps, self.seed, torch.float32)
        return self._score(REFERENCE_SOLVER, steps, self._reference)

    def measure_another_draw(self, steps: int) -> Quality:
        """The reference's sampler with another seed: how far apart two equally good results are."""
        drawn = self._generate(REFERENCE_SOLVER, steps, (self.seed + 1) % SEED_LIMIT, torch.float32)
        return self._score(REFERENCE_SOLVER, steps, drawn)

    def measure(self, solver: str, steps: int) -> Quality:
        """Score a solver, with the reference's seed.

        Raises:
            InputError: For an unknown solver or fewer than 1 step.
        """
        return self._score(solver, steps, self._generate(solver, steps, self.seed, self.dtype))

    def _generate(self, solver: str, steps: int, seed: int, dtype: torch.dtype | None) -> SampledViews:
        made = []
        sampling = {"solver": solver, "steps": steps, "seed": seed, "backend": self.backend, "dtype": dtype}
        for given, rows, completed in complete_subsets(
            self.model, self.images, self.ids, self.subsets, batch=self.batch, **sampling
        ):
            if rows.start == 0:
                made.append([])
            made[-1].append(completed[:, ~given])
            self.progress(len(completed) * steps)
        images = torch.cat([torch.cat(parts) for parts in made], dim=1)
        return SampledViews(images, picture_latents(self.model, images, self.batch))

    def _score(self, solver: str, steps: int, pictures: SampledViews) -> Quality:
        reference = None if pictures is self._reference else self._reference
        return Quality(
            solver=solver,
            steps=steps,
            psnr_true=_mean_psnr(pictures, self.true),
            psnr_reference=None if reference is None else _mean_psnr(pictures, reference),
            distance_true=self._distance(pictures, self.true),
            distance_reference=None if reference is None else self._distance(pictures, reference),
        )

    def _distance(self, pictures: SampledViews, others: SampledViews) -> float:
        return latent_frechet_distance(pictures.latents, others.latents, self.views)


def reconstruction(model: MultiViewModel, images: Tensor, batch: int) -> tuple[Estimate, float]:
    """What the autoencoder makes of the true views, uint8 [N, V, C, H, W]: the ceiling for every solver.

    Returns:
        PSNR in dB and latent Fréchet distance to the true views.
    """
    latents = picture_latents(model, images, batch)
    decoded = torch.cat([(model.decode(part) * 255).round().to(torch.uint8).cpu() for part in latents.split(batch)])
    made = SampledViews(decoded, picture_latents(model, decoded, batch))
    distance = latent_frechet_distance(made.latents, latents, range(images.shape[1]))
    return _mean_psnr(made, SampledViews(images, latents)), distance


def plot_quality(path: Path, points: Mapping[int, Sequence[Quality]], draws: Mapping[int, Quality]) -> None:
    """Two rows of panels, one column per number of known views.

    Above, PSNR against the true views; below, latent Fréchet distance to the reference's views; both against
    evaluations, a line per solver, with a dashed line where another draw of the reference lies.

    Args:
        path: PNG, or what its suffix says.
        points: Measurements by number of known views.
        draws: Another draw of the reference, likewise.
    """
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(4.2 * len(points), 7), layout="constrained")
    panels = figure.subplots(2, len(points), squeeze=False, sharex=True, sharey="row")
    for column, (known, measured) in enumerate(points.items()):
        for solver in dict.fromkeys(quality.solver for quality in measured):
            line = sorted((quality for quality in measured if quality.solver == solver), key=lambda q: q.steps)
            steps = [quality.steps for quality in line]
            panels[0, column].plot(steps, [q.psnr_true.mean for q in line], marker="o", markersize=3, label=solver)
            panels[1, column].plot(steps, [q.distance_reference for q in line], marker="o", markersize=3)
        draw = draws[known]
        name = f"{draw.solver}, {draw.steps}, another draw"
        panels[0, column].axhline(draw.psnr_true.mean, linestyle="--", color="black", linewidth=1, label=name)
        panels[1, column].axhline(draw.distance_reference, linestyle="--", color="black", linewidth=1)
        panels[0, column].set(title=f"{known} known")
        panels[1, column].set(xlabel="network evaluations")
        counts = sorted({quality.steps for quality in measured})
        for axes in panels[:, column]:
            axes.set_xscale("log")
            axes.set_xticks(counts, [str(count) for count in counts], minor=False)
            axes.set_xticks([], minor=True)
            axes.grid(alpha=0.3)
    panels[0, 0].set_ylabel("PSNR against the true views, dB")
    panels[1, 0].set_ylabel("latent Fréchet distance to the reference")
    panels[1, 0].set_ylim(bottom=0)
    panels[0, 0].legend(fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _mean_psnr(pictures: SampledViews, others: SampledViews) -> Estimate:
    objects, count = pictures.images.shape[:2]
    values = psnr(pictures.images.flatten(0, 1), others.images.flatten(0, 1))
    tally = Tally(objects, count, count_equal=True)
    tally.add(slice(0, objects), torch.arange(count), values.unflatten(0, (objects, count)))
    return tally.estimate()


def _score_to_dict(score: Estimate) -> dict[str, Any]:
    values = {"mean": score.mean, "standard_error": score.standard_error, "pictures": score.count, "equal": score.equal}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
