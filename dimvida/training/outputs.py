"""What a run leaves in its folder while it trains: learning curves, sample sheets and checkpoints.

checkpoint/                 the last weights
best/                       those with the lowest validation loss of the stage that trained last
steps/<stage>-000500/       those of every ``keep_every`` steps
"""

from __future__ import annotations

import copy
import dataclasses
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from dimvida._version import __version__
from dimvida.errors import InputError
from dimvida.models.autoencoder import Autoencoder
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig, save_checkpoint
from dimvida.models.familiarity import InputStatistics, measure_inputs
from dimvida.sampling.multiview import MultiViewModel
from dimvida.training.config import TrainConfig
from dimvida.training.control import Interrupt, ShowProgress
from dimvida.training.data import TrainingData
from dimvida.training.figures import Board, completion_sheet, plot_curves, reconstruction_sheet, write_csv
from dimvida.training.folder import RunFolder
from dimvida.training.latents import encode_views, latent_statistics, present_views
from dimvida.training.loop import Hooks, loss_note
from dimvida.training.seeds import derived_seed, seeded
from dimvida.training.state import CurvePoint, TrainingState

SHEET_OBJECTS = 8
PLOT_INTERVAL = 30.0  # seconds

# Objects that give the latents' statistics where there is no time to encode all.
ESTIMATE_OBJECTS = 128


class Outputs(Hooks):
    """Writes a run's curves, sheets and checkpoints.

    Args:
        folder: The run's folder.
        checkpoint: The run's networks so far; a stage's own network takes its place in what is written.
        data: Held-out objects for the sheets, training objects for estimates.
        device: The device of the networks.
        dtype: The type that weights are stored in.
        interrupt: Once it asks to stop, the curves are drawn a last time.
        tensorboard: Whether curves and sheets go to TensorBoard too.
    """

    def __init__(
        self,
        folder: RunFolder,
        checkpoint: Checkpoint,
        data: TrainingData,
        device: torch.device,
        dtype: torch.dtype,
        interrupt: Interrupt,
        tensorboard: bool = False,
    ) -> None:
        self.curves: dict[str, list[CurvePoint]] = {}
        self._folder, self._checkpoint, self._data, self._device = folder, checkpoint, data, device
        self._dtype, self._interrupt = dtype, interrupt
        self._tensorboard = tensorboard
        self._board: Board | None = None
        self._drawn = time.monotonic()
        self._show: ShowProgress = lambda done, note="": None
        self._best: tuple[CurvePoint, nn.Module] | None = None  # not written yet

    def begin(self, stage: TrainingState, show: ShowProgress) -> None:
        """This stage trains now; show how far it is."""
        self._show = show
        if self._tensorboard:
            self._board = Board(self._folder.tensorboard, stage.objective.name, stage.step)

    def progress(self, stage: TrainingState) -> None:
        self._show(stage.step, loss_note(stage))

    def record(self, stage: TrainingState) -> None:
        """Write down in the checkpoint's provenance how far a stage is."""
        self._checkpoint.config.provenance[stage.objective.name] = self._account(stage)

    def estimate_statistics(self, autoencoder: Autoencoder) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [D] of the latents, from some of the objects."""
        first = slice(ESTIMATE_OBJECTS)
        images, present = self._data.images[first], self._data.present[first]
        latents = encode_views(autoencoder, images, present, self._device)
        return latent_statistics(latents, present, autoencoder.config.latent_shape)

    def inputs(self, autoencoder: Autoencoder) -> InputStatistics:
        """What some of the images look like, to tell others by; held-out ones first."""
        data, first = self._data, slice(ESTIMATE_OBJECTS)
        views = [
            present_views(data.held_out[first], data.held_out_present[first]),
            present_views(data.images[first], data.present[first]),
        ]
        return measure_inputs(autoencoder, torch.cat(views)[: 4 * ESTIMATE_OBJECTS])

    def describe_inputs(self, autoencoder: Autoencoder) -> None:
        """Describe the training images in the run's checkpoint, as its final autoencoder sees them."""
        self._checkpoint.config = dataclasses.replace(self._checkpoint.config, inputs=self.inputs(autoencoder))

    def save(self) -> None:
        """Write the last weights."""
        save_checkpoint(self._folder.checkpoint, self._checkpoint, self._dtype)

    def point(self, stage: TrainingState) -> None:
        write_csv(self._folder.curve(stage.objective.name), stage.curve)
        point = stage.curve[-1]
        if self._board is not None:
            self._board.point(point)
        if all(point.validation["loss"] < earlier.validation["loss"] for earlier in stage.curve[:-1]):
            # Copied, not written: while it learns fast, every point is the best so far.
            self._best = point, copy.deepcopy(stage.averaged_network)

    def sheet(self, stage: TrainingState) -> None:
        path, network = self._folder.samples / f"{stage.objective.name}-{stage.step:06d}.png", stage.averaged_network
        first = slice(SHEET_OBJECTS)
        images, present = self._data.held_out[first], self._data.held_out_present[first]
        objects = self._data.held_out_ids[first]
        if isinstance(network, Autoencoder):
            reconstruction_sheet(path, network, images, present, self._data.view_names, objects)
        else:
            model = MultiViewModel(copy.deepcopy(self._with(network))).to(self._device)
            completion_sheet(path, model, images, present, objects)
        if self._board is not None:
            self._board.sheet(path, stage.step)

    def keep(self, stage: TrainingState) -> None:
        self._save_snapshot(self._folder.step(stage.objective.name, stage.step), stage, stage.averaged_network)

    def saving(self, stage: TrainingState) -> None:
        if self._best is not None:
            point, network = self._best
            self._save_snapshot(self._folder.best, stage, network, point)
            self._best = None

    def saved(self, stage: TrainingState) -> None:
        self.curves[stage.objective.name] = stage.curve
        # Drawing takes longer than many steps of a small network.
        if stage.step == stage.total or self._interrupt.requested or time.monotonic() - self._drawn > PLOT_INTERVAL:
            plot_curves(self._folder.curves, self.curves)
            self._drawn = time.monotonic()
        if not isinstance(stage.averaged_network, Autoencoder):
            self.record(stage)
            save_checkpoint(self._folder.checkpoint, self._with(stage.averaged_network), self._dtype)

    def _save_snapshot(
        self, folder: Path, stage: TrainingState, network: nn.Module, point: CurvePoint | None = None
    ) -> None:
        checkpoint = self._with(network)
        provenance = {**checkpoint.config.provenance, stage.objective.name: self._account(stage, point)}
        checkpoint.config = dataclasses.replace(checkpoint.config, provenance=provenance)
        if isinstance(network, Autoencoder):
            checkpoint.config = dataclasses.replace(checkpoint.config, inputs=self.inputs(network))
            checkpoint.latent_mean, checkpoint.latent_std = self.estimate_statistics(network)
        save_checkpoint(folder, checkpoint, self._dtype)

    def _with(self, network: nn.Module) -> Checkpoint:
        checkpoint = copy.copy(self._checkpoint)
        if isinstance(network, Autoencoder):
            checkpoint.autoencoder = network
        else:
            checkpoint.score = network
        return checkpoint

    @staticmethod
    def _account(stage: TrainingState, point: CurvePoint | None = None) -> dict[str, object]:
        """Where a stage is, or was at a point of its curve, and how it came there."""
        step, seconds = (stage.step, stage.seconds) if point is None else (point.step, point.seconds)
        if point is None and stage.curve:
            point = stage.curve[-1]
        validation = {} if point is None else point.validation
        config = stage.config
        how = {"batch": config.batch, "optimizer": config.optimizer, "lr": config.lr, "lr_schedule": config.lr_schedule}
        return {"steps": step, **how, "minutes": round(seconds / 60, 1), "validation": validation}


def initial_checkpoint(
    config: TrainConfig, data: TrainingData, init: Checkpoint | None, device: torch.device
) -> Checkpoint:
    """Networks with random weights by the seed, or with those of ``init``, and latents not yet standardised.

    Raises:
        InputError: If ``init`` is of other sizes or views.
    """
    checkpoint_config = CheckpointConfig(
        view_names=data.view_names,
        classes=data.classes,
        autoencoder=config.autoencoder,
        score=config.score,
        sampling=config.sampling,
        cameras=data.cameras,
        provenance={
            "package_version": __version__,
            "data": data.description,
            "configuration": config.to_dict(),
            "configuration_sha256": config.digest(),
        },
    )
    with seeded(derived_seed(config.seed, "initial weights")):
        autoencoder, score = checkpoint_config.build()
    if init is not None:
        _require_alike(init, checkpoint_config)
        checkpoint_config.provenance["init"] = {"checkpoint_sha256": init.digest, **init.config.provenance}
        autoencoder.load_state_dict(init.autoencoder.state_dict())
        if init.score.is_trained:
            score.load_state_dict(init.score.state_dict())
    ones = torch.ones(config.autoencoder.latent_dim)
    return Checkpoint(checkpoint_config, autoencoder.to(device), score.to(device), torch.zeros_like(ones), ones)


def _require_alike(init: Checkpoint, ours: CheckpointConfig) -> None:
    _require_same("autoencoder", init.config, ours)
    if not init.score.is_trained:
        return
    _require_same("score", init.config, ours)
    if ours.cameras and init.config.cameras:
        return  # views may have any names, and be others
    if ours.cameras:
        raise InputError(
            "--init: that checkpoint knows its views by their names, and this run would by their cameras; add --set "
            "diffusion_stage.cameras=false, or start from one that was trained with cameras"
        )
    if init.config.cameras:
        raise InputError(
            "--init: that checkpoint knows its views by their cameras, and this run would by their names; give data "
            "with a cameras.json and leave diffusion_stage.cameras true, or start from another"
        )
    _require_same("view_names", init.config, ours)


def _require_same(name: str, theirs: CheckpointConfig, ours: CheckpointConfig) -> None:
    has, wanted = getattr(theirs, name), getattr(ours, name)
    if has != wanted:
        raise InputError(f"--init: that checkpoint has {name} {has}, this run {wanted}; they must be the same")
