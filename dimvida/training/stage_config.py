"""The options of a training: of each stage, of what is stored, and all together."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dimvida.data.images import CHANNELS
from dimvida.diffusion.loss import TIME_WEIGHTS
from dimvida.diffusion.solvers import step_table
from dimvida.errors import InputError, require_choice
from dimvida.models.checkpoint import SamplingDefaults
from dimvida.models.config import AnyAutoencoderConfig, AnyScoreConfig, AutoencoderConfig, ScoreConfig
from dimvida.records import LATER, options_to_json
from dimvida.training.optimizers import OPTIMIZERS

AUGMENTATIONS = ("none", "trivial-augment-wide")
LIKELIHOODS = ("laplace", "normal")
AUTOCASTS = ("auto", "off", "bfloat16")
LR_SCHEDULES = ("constant", "cosine", "cooldown")
TIME_SAMPLINGS = ("uniform", "importance")
STORAGE_DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, slots=True)
class StageConfig:
    """What every training stage needs.

    Attributes:
        epochs: Passes over the data, unless ``steps`` is given.
        steps: Optimiser steps; 0 takes ``epochs``.
        batch: Images (autoencoder) or objects (diffusion) per step.
        lr: Peak learning rate.
        lr_schedule: ``constant``, ``cosine`` down to zero at the last step, or ``cooldown``: constant, and down to
            zero over the last fifth of the steps.
        warmup_steps: Steps of linear warm-up.
        ema: Highest decay of the exponential moving average of the weights, which grows to it; 0 for none.
        grad_clip: Largest gradient norm; 0 for no limit.
        log_every: Steps averaged into one point of the learning curve.
        save_every: Steps between saved training states.
        sheet_every: Steps between sample sheets; 0 for one at the end.
        keep_every: Steps between checkpoints that are kept for good; 0 for none.
        compile: Run the loss through torch.compile; pays off in long trainings.
        optimizer: ``adam``, unless the stage has the option.
    """

    epochs: int = 1000
    steps: int = 0
    batch: int = 64
    lr: float = 1e-4
    lr_schedule: str = "constant"
    warmup_steps: int = 0
    ema: float = 0.0
    grad_clip: float = 0.0
    log_every: int = 50
    save_every: int = 500
    sheet_every: int = 0
    keep_every: int = 0
    compile: bool = False
    optimizer: ClassVar[str] = "adam"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("steps", "warmup_steps", "sheet_every", "keep_every", "grad_clip"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative: {getattr(self, name)}")
        if not self.lr > 0:
            raise InputError(f"lr must be above 0, not {self.lr}")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema must be in [0, 1), not {self.ema}")
        require_choice("lr_schedule", self.lr_schedule, LR_SCHEDULES)

    def total_steps(self, items: int) -> int:
        """Optimiser steps over a data set of ``items``."""
        return self.steps or self.epochs * -(-items // self.batch)


@dataclass(frozen=True, slots=True)
class AutoencoderStageConfig(StageConfig):
    """How the autoencoder is trained: the options of its objective.

    Attributes:
        likelihood: ``laplace`` (the paper's: absolute error) or ``normal`` (squared error, which learns colours
            sooner where most of an image is background).
        scale: Scale of the likelihood: b of Laplace, standard deviation of the normal.
        chroma_weight: Extra weight of the colour part of an error, which is what remains of it without its mean
            over the channels. Differences in brightness outweigh those in colour, which are then learned late.
            The error of a gray image has no such part.
        ssim_weight: Weight of 1 - SSIM of an image beside its likelihood: sharper edges and textures.
        augment: ``none`` or ``trivial-augment-wide``.
        recolour: Also put each image's colour channels in a random order.
        latent_noise: Standard deviation of noise added to latents before decoding, in units of each latent's
            standard deviation over the batch: the decoder learns to bear a sampler's small errors.
        autocast: Whether products are in bfloat16: ``auto`` (where the hardware multiplies it natively), ``off`` or
            ``bfloat16``. Weights, losses and validation stay in float32.
    """

    likelihood: str = "laplace"
    scale: float = 0.75
    chroma_weight: float = 0.0
    ssim_weight: float = 0.0
    augment: str = "none"
    recolour: bool = False
    latent_noise: float = 0.0
    autocast: str = "auto"

    def __post_init__(self) -> None:
        # Explicit base: slotted dataclasses are re-created, which breaks a bare super().
        StageConfig.__post_init__(self)
        if not self.scale > 0:
            raise InputError(f"scale must be above 0, not {self.scale}")
        for name in ("chroma_weight", "ssim_weight", "latent_noise"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must not be negative: {getattr(self, name)}")
        require_choice("likelihood", self.likelihood, LIKELIHOODS)
        require_choice("augment", self.augment, AUGMENTATIONS)
        require_choice("autocast", self.autocast, AUTOCASTS)


@dataclass(frozen=True, slots=True)
class DiffusionStageConfig(StageConfig):
    """The score network's objective.

    Attributes:
        drop: Probability d that no view is known.
        times: ``uniform`` or ``importance``.
        time_weight: ``none``, or ``clamped``: times of little noise weigh less, see ``dimvida.diffusion.loss``. The
            validation loss is never weighted.
        mirror: Also train on mirrored objects. Needs views at equal angles all around, in this order: the mirror
            image of view v is then view V - v. Names such as front and left are checked; others cannot be.
            A network that is conditioned on cameras needs no such angles: a mirrored view has the opposite azimuth.
        recolour: Also train on objects with their colour channels in every other order.
        cameras: Whether a transformer is conditioned on where its views are seen from, where the data say so, rather
            than on their names.
        views_drawn: Views of an object that a step draws at random, so that its cost does not grow with the number of
            views; a transformer's only. 0 takes all.
        views_least: Each step draws from this many views up to ``views_drawn``; 0 always draws as many as that.
        views_even: Probability that the drawn views of an object are evenly spaced around it, which needs cameras.
        autocast: Whether products are in bfloat16: ``auto`` (where the hardware multiplies it natively and the network
            is a transformer; an MLP stays in float32), ``off`` or ``bfloat16``. Weights and validation stay in float32.
        optimizer: ``adam``, or ``muon`` for the matrices inside the network's blocks and Adam for the rest: a view
            transformer then learns as much in fewer steps, which cost a little more.
    """

    drop: float = 0.2
    times: str = "uniform"
    mirror: bool = False
    recolour: bool = False
    time_weight: str = field(default="none", metadata=LATER)
    cameras: bool = field(default=True, metadata=LATER)
    views_drawn: int = field(default=0, metadata=LATER)
    views_least: int = field(default=0, metadata=LATER)
    views_even: float = field(default=0.0, metadata=LATER)
    autocast: str = field(default="auto", metadata=LATER)
    optimizer: str = field(default="adam", metadata=LATER)

    def __post_init__(self) -> None:
        StageConfig.__post_init__(self)
        for name in ("drop", "views_even"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be in [0, 1], not {getattr(self, name)}")
        if self.views_drawn < 0 or self.views_drawn == 1:
            raise InputError(f"views_drawn must be 0 for all views, or at least 2, not {self.views_drawn}")
        if self.views_least != 0 and not 2 <= self.views_least <= self.views_drawn:
            raise InputError(f"views_least must be 0, or from 2 to views_drawn ({self.views_drawn})")
        require_choice("times", self.times, TIME_SAMPLINGS)
        require_choice("time_weight", self.time_weight, TIME_WEIGHTS)
        require_choice("autocast", self.autocast, AUTOCASTS)
        require_choice("optimizer", self.optimizer, OPTIMIZERS)

    def counts_of(self, views: int) -> range:
        """How many of V views of an object a step may take: one number, or several."""
        most = min(self.views_drawn or views, views)
        return range(min(self.views_least or most, most), most + 1)


@dataclass(frozen=True, slots=True)
class ClassifierStageConfig(StageConfig):
    """How a classifier is trained: the options of its objective.

    Attributes:
        augment: ``none`` or ``trivial-augment-wide``.
        finetune_lr: Peak learning rate of a classifier that starts from given weights; 0 takes ``lr``.
        input_size: Edge in pixels that the classifier resizes images to; 0 takes them as they come.
    """

    augment: str = "none"
    finetune_lr: float = 0.0
    input_size: int = 0

    def __post_init__(self) -> None:
        StageConfig.__post_init__(self)
        if not self.finetune_lr >= 0 or self.input_size < 0:
            raise InputError("finetune_lr and input_size must not be negative")
        require_choice("augment", self.augment, AUGMENTATIONS)


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """How weights are stored in the checkpoint: ``float32``, ``float16`` or ``bfloat16``."""

    dtype: str = "float32"

    def __post_init__(self) -> None:
        require_choice("dtype", self.dtype, STORAGE_DTYPES)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A whole training run.

    Attributes:
        seed: Seeds initial weights, data order, masks, times, noise and augmentation.
        validation: Fraction of the objects held out for the learning curves.
    """

    seed: int = 0
    validation: float = 0.05
    autoencoder: AnyAutoencoderConfig = field(default_factory=AutoencoderConfig)
    score: AnyScoreConfig = field(default_factory=ScoreConfig)
    autoencoder_stage: AutoencoderStageConfig = field(default_factory=AutoencoderStageConfig)
    diffusion_stage: DiffusionStageConfig = field(default_factory=DiffusionStageConfig)
    classifier_stage: ClassifierStageConfig = field(default_factory=ClassifierStageConfig)
    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)
    storage: StorageConfig = field(default_factory=StorageConfig)

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise InputError(f"validation must be between 0 and 1, not {self.validation}")
        if self.seed < 0:
            raise InputError(f"seed must not be negative: {self.seed}")
        self._check_channels()
        self.score.require_latents(self.autoencoder.latent_shape)
        if self.diffusion_stage.views_drawn and not self.score.takes_views:
            raise InputError(f"diffusion_stage.views_drawn: score.kind {self.score.kind} takes all views; it must be 0")
        step_table(self.sampling.solver, self.sampling.steps)  # raises where they do not fit
        if not self.sampling.x0_clip >= 0:
            raise InputError(f"x0_clip must not be negative: {self.sampling.x0_clip}")

    def _check_channels(self) -> None:
        channels = self.autoencoder.channels
        if channels not in CHANNELS:
            raise InputError(f"autoencoder.channels {channels}: images are gray (1) or RGB (3)")
        recolouring = [name for name in ("autoencoder_stage", "diffusion_stage") if getattr(self, name).recolour]
        if channels == 1 and recolouring:
            changes = " ".join(f"--set {name}.recolour=false" for name in recolouring)
            raise InputError(f"gray images (autoencoder.channels 1) have no colours to exchange: {changes}")

    @property
    def takes_cameras(self) -> bool:
        """Whether the score network is conditioned on the cameras of the views, if the data have some."""
        return self.diffusion_stage.cameras and self.score.takes_cameras

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries, for JSON; options that came later are left out where they are by default."""
        return options_to_json(self)

    def digest(self) -> str:
        """SHA-256 of the canonical JSON form, hex."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()
