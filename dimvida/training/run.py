"""A training run in one folder: the autoencoder, then the latents of all images, then the diffusion over them.

``Run.train`` tells it in order. What it leaves:

run.json                    the resolved configuration, what it is trained on, how it began
autoencoder.state           training state of a stage, for --resume
diffusion.state
latents.safetensors         the encoded data, which --resume need not encode again
autoencoder.csv, diffusion.csv, curves.png
samples/                    sample sheets
checkpoint/                 the model; usable at any time after the autoencoder stage
best/, steps/               earlier ones, see ``outputs``
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dimvida.errors import DimvidaError, InputError
from dimvida.models.autoencoder import Autoencoder
from dimvida.models.checkpoint import Checkpoint
from dimvida.results.files import STAGES, TrainingResult
from dimvida.results.schema import SkippedInput
from dimvida.sampling.backends import resolve_backend, resolve_dtype
from dimvida.training.autoencoder import AutoencoderObjective
from dimvida.training.batches import Objective
from dimvida.training.config import TrainConfig
from dimvida.training.control import Interrupt, Interrupted, StartProgress
from dimvida.training.costs import after_autoencoder, items_of
from dimvida.training.data import TrainingData
from dimvida.training.diffusion import objective_of
from dimvida.training.folder import RunFolder, another_configuration
from dimvida.training.latents import (
    LatentStore,
    check_mirror,
    encoding_dtype,
    latent_statistics,
    present_views,
    training_variants,
)
from dimvida.training.loop import Diverged, Hooks, run_stage
from dimvida.training.options import changed_lengths, require_same_options, stage_digests
from dimvida.training.outputs import Outputs, initial_checkpoint
from dimvida.training.ranks import Ranks
from dimvida.training.stage_config import StageConfig
from dimvida.training.state import TrainingState, load_state


@dataclass(slots=True)
class Run:
    """One run folder and the state of its training.

    Attributes:
        out: The run's folder.
        config: The resolved configuration.
        data: The objects to train on and to validate with.
        device: The device that computes.
        watch: Called when a stage or the encoding begins, to show how far it is.
        interrupt: Asked between steps and between batches whether to stop.
        init: Start from these weights instead of random ones: the autoencoder's, and the score network's if it
            was trained.
        ranks: The processes that train together; rank 0 alone uses the folder.
        workers: Processes that draw batches ahead; None for as many as a stage needs.
        tensorboard: Whether curves and sheets go to TensorBoard too.
        origin: ``command``, ``versions`` and ``options`` of ``TrainingResult``.

    Raises:
        InputError: If ``init`` is of other sizes or views.
    """

    out: Path
    config: TrainConfig
    data: TrainingData
    device: torch.device
    watch: StartProgress
    interrupt: Interrupt
    init: Checkpoint | None = None
    ranks: Ranks = field(default_factory=Ranks)
    workers: int | None = None
    tensorboard: bool = False
    origin: dict[str, Any] = field(default_factory=dict)
    folder: RunFolder = field(init=False)
    checkpoint: Checkpoint = field(init=False)
    outputs: Outputs = field(init=False)

    def __post_init__(self) -> None:
        self.folder = RunFolder(self.out)
        self.checkpoint = initial_checkpoint(self.config, self.data, self.init, self.device)
        dtype = getattr(torch, self.config.storage.dtype)
        self.outputs = Outputs(
            self.folder, self.checkpoint, self.data, self.device, dtype, self.interrupt, self.tensorboard
        )

    def train(self, stage: str, resume: bool) -> bool:
        """Run the stages asked for; True if all of them finished.

        Args:
            stage: ``all``, ``autoencoder`` or ``diffusion``.
            resume: Continue from saved states.

        Raises:
            InputError: If the folder already holds what would be overwritten or lacks what is needed, if the views'
                names contradict mirroring, or if ``DIMVIDA_SIMD`` or ``DIMVIDA_DTYPE`` name what is not there.
            DimvidaError: If the loss or the weights are no longer finite.
        """
        wanted = STAGES if stage == "all" else (stage,)
        resolve_dtype(None, resolve_backend("auto", self.device), self.device)  # not first when sheets are drawn
        if "diffusion" in wanted and self.config.diffusion_stage.mirror and self.data.cameras is None:
            check_mirror(self.data.view_names)
        with contextlib.ExitStack() as owning:
            self.ranks.broadcast_from_rank_0(lambda: self._enter(owning, wanted, resume))
            try:
                finished = self._have_autoencoder(wanted, resume)
                if finished and "diffusion" in wanted:
                    finished = self._run_stage("diffusion", resume)
                return finished
            except Interrupted:
                return False

    @property
    def generates(self) -> bool:
        """Whether the run's checkpoint has a score network of its diffusion, so far."""
        return self.folder.state("diffusion").exists() and self.checkpoint.score.is_trained

    def _enter(self, owning: contextlib.ExitStack, wanted: Sequence[str], resume: bool) -> None:
        self.folder.check(wanted, resume=resume, init=self._init_digest)
        if resume:
            require_same_options(self.folder, self.config)
            known = self.folder.description() or TrainingResult()
            for name in self.folder.begun():
                digests = self._digests(name)
                if known.stages.get(name, digests[0]) not in digests:
                    raise another_configuration(self.out, changed_lengths(known.configuration, self.config))
        owning.enter_context(self.folder.owned())

    def _have_autoencoder(self, wanted: Sequence[str], resume: bool) -> bool:
        """Train the autoencoder, or take one that is; True if it is finished."""
        if "autoencoder" in wanted:
            later = after_autoencoder(self.config, self.data) if "diffusion" in wanted else 0.0
            return self._run_stage("autoencoder", resume, later)
        if self.ranks.broadcast_from_rank_0(self.folder.state("autoencoder").exists):
            self._take_saved_autoencoder()
        else:
            self._take_initial_autoencoder()
        return True

    def _run_stage(self, name: str, resume: bool, later: float = 0.0) -> bool:
        """Begin or continue a stage; True if it finished. ``later`` is what comes after it, in its steps."""
        state = self.ranks.broadcast_from_rank_0(lambda: self._begin(name, resume))
        stage = self._autoencoder_stage() if name == "autoencoder" else self._diffusion_stage()
        if state is not None:
            stage.restore(state)
        hooks = Hooks()
        if self.ranks.is_rank_0:
            hooks = self.outputs
            self.outputs.begin(stage, self.watch(name, stage.total, "steps", stage.step, later))
        try:
            finished = run_stage(stage, hooks, self.interrupt, self.ranks, self.workers)
        except Diverged as error:
            raise DimvidaError(f"{name}: {error}; {self._way_on(stage)}") from None
        if name == "autoencoder":
            self._standardise_latents(stage.averaged_network, stage)
        return finished

    def _begin(self, name: str, resume: bool) -> dict[str, Any] | None:
        """Write down that a stage begins or goes on; the state that it goes on from."""
        path, digests = self.folder.state(name), self._digests(name)
        state = load_state(path, digests) if resume and path.exists() else None
        total = getattr(self.config, f"{name}_stage").total_steps(items_of(name, self.data))
        if state is not None and state["step"] > total:
            raise InputError(f"{self.out}: its {name} has done {state['step']} steps already; {total} are too few")
        # Only now: a refused --resume changes nothing.
        description = TrainingResult(
            **self.origin,
            configuration=self.config.to_dict(),
            data=self.data.description,
            skipped=[SkippedInput(file.location, file.reason) for file in self.data.skipped],
            init=self._init_digest,
        )
        self.folder.begin(name, digests[0], description)
        return state

    def _way_on(self, stage: TrainingState) -> str:
        """What helps after a divergence. Not --resume: it would repeat it, and refuses another lr."""
        name = stage.objective.name
        advice = f"begin again in another --out, with {name}_stage.lr below {stage.config.lr:g}"
        if self.folder.checkpoint.exists():
            advice += f" and, to go on from the last saved weights, --init {self.out}"
            advice += " --stage diffusion" if name == "diffusion" else ""
        return advice

    def _take_saved_autoencoder(self) -> None:
        stage = self._autoencoder_stage()
        stage.restore(
            self.ranks.broadcast_from_rank_0(lambda: load_state(stage.state_path, self._digests("autoencoder")))
        )
        if stage.step < stage.total:
            raise InputError(
                f"{self.out}: its autoencoder is unfinished (step {stage.step} of {stage.total}); "
                "finish it with --stage all --resume"
            )
        self.outputs.curves["autoencoder"] = stage.curve
        self._standardise_latents(stage.averaged_network.eval(), stage)

    def _take_initial_autoencoder(self) -> None:
        """Keep the autoencoder of ``init`` as it is, with its statistics: its score network knows these latents."""
        assert self.init is not None
        checkpoint, init = self.checkpoint, self.init
        checkpoint.autoencoder.eval()
        checkpoint.latent_mean = init.latent_mean.to(self.device)
        checkpoint.latent_std = init.latent_std.to(self.device)
        checkpoint.config.provenance["autoencoder"] = init.config.provenance.get("autoencoder", {})
        if self.ranks.is_rank_0:
            self.outputs.describe_inputs(checkpoint.autoencoder)

    def _autoencoder_stage(self) -> TrainingState:
        config, data = self.config.autoencoder_stage, self.data
        objective = AutoencoderObjective(
            self.checkpoint.autoencoder,
            present_views(data.images, data.present),
            present_views(data.held_out, data.held_out_present),
            config,
            self.device,
            self.ranks,
        )
        return self._stage(objective, config)

    def _diffusion_stage(self) -> TrainingState:
        latents, held_out = self.ranks.broadcast_from_rank_0(
            lambda: self._latent_store().all(self.watch, self.interrupt)
        )
        objective = objective_of(self.checkpoint, self.data, self.config, latents, held_out, self.device)
        return self._stage(objective, self.config.diffusion_stage)

    def _stage(self, objective: Objective, config: StageConfig) -> TrainingState:
        path = self.folder.state(objective.name)
        return TrainingState(objective, config, self.config.seed, path, self._digests(objective.name)[0])

    def _standardise_latents(self, autoencoder: nn.Module, stage: TrainingState) -> None:
        """Put a trained autoencoder into the checkpoint, with the statistics of its latents.

        Raises:
            Interrupted: It was interrupted while it encoded; the statistics are estimates, and the checkpoint usable.
        """
        assert isinstance(autoencoder, Autoencoder)
        self.checkpoint.autoencoder = autoencoder
        mean, std, whole = self.ranks.broadcast_from_rank_0(self._latent_statistics)
        self.checkpoint.latent_mean, self.checkpoint.latent_std = mean.to(self.device), std.to(self.device)
        self.outputs.record(stage)
        if self.ranks.is_rank_0:
            self.outputs.describe_inputs(autoencoder)
        if self.ranks.is_rank_0 and not self.folder.state("diffusion").exists():
            self.outputs.save()
        if not whole:
            raise Interrupted

    def _latent_statistics(self) -> tuple[Tensor, Tensor, bool]:
        """Mean and standard deviation of the latents, and whether they are of all objects."""
        try:
            latents = self._latent_store().plain(self.watch, self.interrupt)
        except Interrupted:
            # So that the checkpoint is usable so far; whoever resumes encodes the others too.
            return *self.outputs.estimate_statistics(self.checkpoint.autoencoder), False
        return *latent_statistics(latents, self.data.present, self.config.autoencoder.latent_shape), True

    def _latent_store(self) -> LatentStore:
        key = f"{self.data.digest} {self.config.seed} {self.config.validation}"
        variants = training_variants(self.config, exchange=self.data.cameras is None)
        autoencoder = self.checkpoint.autoencoder
        dtype = encoding_dtype(self.config, autoencoder, self.device)
        return LatentStore(self.folder.latents, autoencoder, self.data, variants, key, self.device, dtype)

    def _digests(self, stage: str) -> tuple[str, str]:
        return stage_digests(stage, self.config, self.data.digest_for(stage), self._init_digest)

    @property
    def _init_digest(self) -> str | None:
        return None if self.init is None else self.init.digest
