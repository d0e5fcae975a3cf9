"""Quality against network evaluations: what a faster solver costs.

The yardstick is the paper's sampler with many steps, Euler-Maruyama with 250, of the same model on the same inputs.
Two of its draws differ as much as noise makes them; a solver that is no further from one draw than another draw is
has lost nothing that can be seen in this way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dimvida.evaluation.frechet import latent_frechet_distance, picture_latents
from dimvida.evaluation.metrics import Tally, psnr
from dimvida.evaluation.objects import view_subsets
from dimvida.evaluation.protocol import complete_subsets
from dimvida.results.schema import Estimate
from dimvida.results.solvers import SolverQuality
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


class QualityBench:
    """Measures solvers on one set of objects with one number of known views.

    Args:
        model: The model whose sampler is measured.
        images: Complete objects, uint8 [N, V, C, H, W].
        ids: Their ids, which the noise belongs to.
        known: How many views are given; every set of that many in turn.
        batch: Objects at a time.
        seed: Seed of the noise.
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

    def measure_reference(self, steps: int) -> SolverQuality:
        """Make the reference's views, which every other measurement is compared with, and score them."""
        self._reference = self._generate(REFERENCE_SOLVER, steps, self.seed, torch.float32)
        return self._score(REFERENCE_SOLVER, steps, self._reference)

    def measure_another_draw(self, steps: int) -> SolverQuality:
        """The reference's sampler with another seed: how far apart two equally good results are."""
        drawn = self._generate(REFERENCE_SOLVER, steps, (self.seed + 1) % SEED_LIMIT, torch.float32)
        return self._score(REFERENCE_SOLVER, steps, drawn)

    def measure(self, solver: str, steps: int) -> SolverQuality:
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

    def _score(self, solver: str, steps: int, pictures: SampledViews) -> SolverQuality:
        reference = None if pictures is self._reference else self._reference
        return SolverQuality(
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


def _mean_psnr(pictures: SampledViews, others: SampledViews) -> Estimate:
    objects, count = pictures.images.shape[:2]
    values = psnr(pictures.images.flatten(0, 1), others.images.flatten(0, 1))
    tally = Tally(objects, count, count_equal=True)
    tally.add(slice(0, objects), torch.arange(count), values.unflatten(0, (objects, count)))
    return tally.estimate()
