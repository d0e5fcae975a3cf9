"""What the score network minimises: the masked multi-time denoising error of cached latents, of some views a step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from dimvida import ops
from dimvida.diffusion.loss import denoising_loss, training_times
from dimvida.diffusion.masking import random_known
from dimvida.diffusion.schedule import VPSchedule
from dimvida.models.checkpoint import Checkpoint
from dimvida.models.score_network import MultiTimeNetwork
from dimvida.training.batches import VALIDATION_BATCH, CachedRows, product_dtype
from dimvida.training.config import TrainConfig
from dimvida.training.data import TrainingData
from dimvida.training.latents import training_variants
from dimvida.training.ranks import Share
from dimvida.training.seeds import derived_generator, derived_seed
from dimvida.training.stage_config import DiffusionStageConfig


class DiffusionObjective:
    """The masked multi-time denoising loss over cached, standardised latents.

    Args:
        network: The score network to train.
        latents: Training latents of K variants of every object, float32 [K, N, V, D]; a step takes one variant
            of each of its objects at random.
        held_out: Validation latents, float32 [M, V, D].
        config: Conditioning dropout, time sampling and the dtype of products.
        schedule: The noise schedule of the forward SDE.
        device: The device that computes.
        prediction: What the network predicts, ``noise`` or ``velocity``.
        present: The views that each variant of a training object has, bool [K, N, V], at least two; by default all.
        held_out_present: Those of held-out objects, bool [M, V].
        cameras: Azimuth and elevation in degrees of the views of each variant, float32 [K, V, 2], for a network that is
            conditioned on them.
    """

    name = "diffusion"
    draws_slowly = False

    def __init__(
        self,
        network: MultiTimeNetwork,
        latents: Tensor,
        held_out: Tensor,
        config: DiffusionStageConfig,
        schedule: VPSchedule,
        device: torch.device,
        prediction: str = "noise",
        present: Tensor | None = None,
        held_out_present: Tensor | None = None,
        cameras: Tensor | None = None,
    ) -> None:
        self.network, self.config, self.schedule, self.device = network, config, schedule, device
        self.prediction = prediction
        self.held_out, self.items = held_out, latents.shape[1]
        self._present = _all_true(latents) if present is None else present
        self._held_out_present = _all_true(held_out) if held_out_present is None else held_out_present
        # Of complete objects nothing is masked, which is faster.
        self._masks = network.masks_absent and not (self._present.all() and self._held_out_present.all())
        self._autocast = product_dtype(config.autocast, device, network.prefers_bfloat16) == torch.bfloat16
        self._variants, _, self._views, self._latent_dim = latents.shape
        self._latents = CachedRows(latents.flatten(0, 2), device)  # [K N V, D]
        self._cameras = cameras
        self._sets = ViewSets(self._views, config, None if cameras is None else cameras[0].tolist())

    def draw(self, indices: Tensor, seed: int, step: int, rows: slice) -> dict[str, Tensor]:
        generator = derived_generator(seed, "diffusion", step)
        variants = torch.randint(self._variants, indices.shape, generator=generator)
        views, conditions = self._conditions(variants, self._present[variants, indices], generator)
        places = (variants * self.items + indices)[:, None] * self._views + views  # [B, n]
        latents = self._latents.for_batch(places[rows])
        # The noise itself is made where the loss is: it is most of what a step draws, and would have to be copied.
        noise_ids = (derived_seed(seed, "diffusion/noise", step) >> 1) + torch.arange(len(indices))
        conditions = {"noise_ids": noise_ids, **conditions}
        return {"latents": latents, **{name: tensor[rows] for name, tensor in conditions.items()}}

    def loss(self, share: Share, latents: Tensor, noise_ids: Tensor, **conditions: Tensor) -> Tensor:
        latents = self._latents.on_device(latents)
        noise = torch.empty_like(latents)
        ops.philox_normal_(noise, noise_ids, torch.zeros_like(noise_ids[:1]), 0)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            return self._denoising_loss(
                self.network, latents, noise=noise, **conditions, time_weight=self.config.time_weight
            )

    @torch.no_grad()
    def validate(self, network: MultiTimeNetwork) -> dict[str, float]:
        # The same masks, times and noise each time, so that the curve shows the network alone.
        generator = derived_generator(0, "diffusion/validation")
        total = 0.0
        batches = self.held_out.split(VALIDATION_BATCH), self._held_out_present.split(VALIDATION_BATCH)
        for latents, present in zip(*batches, strict=True):
            unaltered = torch.zeros(len(latents), dtype=torch.int64)
            views, conditions = self._conditions(unaltered, present, generator)
            latents = latents.gather(1, views[..., None].expand(-1, -1, self._latent_dim))
            conditions["noise"] = torch.randn(latents.shape, generator=generator)
            moved = {name: tensor.to(self.device) for name, tensor in {"latents": latents, **conditions}.items()}
            total += float(self._denoising_loss(network, **moved)) * len(latents)
        return {"loss": total / len(self.held_out)}

    def _conditions(
        self, variants: Tensor, present: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What is drawn for a batch of objects: n views of each, int64 [B, n]; known ones of them, and times.

        Args:
            variants: Which variant of each object it is, int64 [B].
            present: The views that each has, bool [B, V].
            generator: Source of randomness on the CPU.
        """
        views = self._sets.draw(present, generator)
        present = present.gather(1, views)
        batch, count = present.shape
        conditions = {
            "known": random_known(batch, count, self.config.drop, generator, present),
            "t": training_times(batch, self.schedule, self.config.times, generator),
            "present": present,
        }
        if self._cameras is not None:
            conditions["views"] = self._cameras[variants[:, None], views]  # [B, n, 2]
        elif self._sets.draws:
            conditions["views"] = views
        return views, conditions

    def _denoising_loss(
        self,
        network: MultiTimeNetwork,
        latents: Tensor,
        known: Tensor,
        t: Tensor,
        noise: Tensor,
        present: Tensor,
        views: Tensor | None = None,
        time_weight: str = "none",
    ) -> Tensor:
        if self._masks:
            network = partial(network, present=present)
        if views is not None:
            network = partial(network, views=views)
        return denoising_loss(network, latents, known, t, noise, self.schedule, self.prediction, present, time_weight)


def objective_of(
    checkpoint: Checkpoint,
    data: TrainingData,
    config: TrainConfig,
    latents: Tensor,
    held_out: Tensor,
    device: torch.device,
) -> DiffusionObjective:
    """The objective of a run, on what its autoencoder made of its data.

    Args:
        checkpoint: Its networks, and the statistics of the latents.
        data: Says which views there are, and where they are seen from.
        config: The run's configuration.
        latents: float32 [K, N, V, D] of the variants of the training objects. It is standardised in place, as it may
            take much of the memory; so is ``held_out``.
        held_out: float32 [M, V, D].
        device: The device that computes.
    """
    for part in (latents, held_out):
        part.sub_(checkpoint.latent_mean.cpu()).div_(checkpoint.latent_std.cpu())
    variants = training_variants(config, exchange=data.cameras is None)
    present = torch.stack([variant.views(data.present) for variant in variants])
    several = data.present.sum(1) >= 2  # of a single view there is nothing to complete
    if not several.all():
        latents, present = latents[:, several], present[:, several]
    cameras = None if data.cameras is None else torch.tensor(data.cameras, dtype=torch.float32)
    return DiffusionObjective(
        checkpoint.score,
        latents,
        held_out,
        config.diffusion_stage,
        VPSchedule(checkpoint.config.beta0, checkpoint.config.beta1),
        device,
        config.score.prediction,
        present,
        data.held_out_present,
        None if cameras is None else torch.stack([variant.cameras(cameras) for variant in variants]),
    )


def _all_true(latents: Tensor) -> Tensor:
    return torch.ones(latents.shape[:-1], dtype=torch.bool)


class ViewSets:
    """Draws views of objects, so that a step costs the same however many the data have.

    Of each object a set of its own, all of the same number: uniform over the sets of that size among the views that the
    object has or, for a share of them, evenly spaced around it, beginning anywhere.

    Args:
        views: Number of views V of the data.
        config: ``views_drawn``, ``views_least`` and ``views_even``.
        cameras: Azimuth and elevation of each view in degrees; needed where some sets are to be evenly spaced.
    """

    def __init__(
        self, views: int, config: DiffusionStageConfig, cameras: Sequence[tuple[float, float]] | None = None
    ) -> None:
        self._views, self._share = views, config.views_even
        self._counts = config.counts_of(views)
        angles = None if cameras is None or not self._share else torch.tensor(cameras, dtype=torch.float64)
        self._even = {count: torch.zeros(0, count, dtype=torch.int64) for count in self._counts}
        if angles is not None:
            self._even = {count: evenly_spaced(angles, count) for count in self._counts}

    @property
    def draws(self) -> bool:
        """Whether anything is drawn: else all views are taken, in their order."""
        return self._counts != range(self._views, self._views + 1)

    def draw(self, present: Tensor, generator: torch.Generator) -> Tensor:
        """Views of each of B objects.

        Args:
            present: bool [B, V], the views that each has, at least two.
            generator: Source of randomness on the CPU.

        Returns:
            int64 [B, n], different ones in each row, at least two of them present.
        """
        if not self.draws:
            return torch.arange(self._views).expand(len(present), -1)
        low, high = self._counts[0], self._counts[-1]
        count = low if low == high else int(torch.randint(low, high + 1, (), generator=generator))
        # Present views in a random order, then the others.
        order = (torch.rand(present.shape, generator=generator) + 2 * ~present).argsort(1)
        views, even = order[:, :count], self._even[count]
        if not len(even):
            return views
        start = torch.randint(len(even), (len(present),), generator=generator)
        chosen = torch.rand(len(present), generator=generator) < self._share
        chosen &= present.gather(1, even[start]).sum(1) >= 2  # of a single view there is nothing to complete
        return torch.where(chosen[:, None], even[start], views)


def evenly_spaced(cameras: Tensor, count: int) -> Tensor:
    """Sets of views that are as evenly spaced around an object as its views allow, one beginning at each view.

    Args:
        cameras: Azimuth and elevation of V views in degrees, [V, 2].
        count: Views n of a set.

    Returns:
        int64 [at most V, n]; sets in which two places would have the same view are left out.
    """
    azimuth, elevation = cameras.unbind(1)
    wanted = azimuth[:, None] + 360 / count * torch.arange(count)  # [V, n]
    apart = (wanted[..., None] - azimuth + 180).remainder(360) - 180  # [V, n, V]
    apart = apart.abs() + (elevation[:, None, None] - elevation).abs()
    sets = apart.argmin(2)
    ordered = sets.sort(1).values
    return sets[(ordered[:, 1:] != ordered[:, :-1]).all(1)]
