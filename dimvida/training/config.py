"""The configuration of a training run: presets, files and overrides resolved into one typed value."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from dimvida.data.images import CHANNELS
from dimvida.diffusion.solvers import step_table
from dimvida.errors import InputError
from dimvida.models.checkpoint import SamplingDefaults
from dimvida.models.config import AutoencoderConfig, ScoreConfig, config_from_dict

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRESETS = ("paper", "small", "tiny")
AUGMENTATIONS = ("none", "trivial-augment-wide")
LIKELIHOODS = ("laplace", "normal")
AUTOCASTS = ("auto", "off", "bfloat16")
LR_SCHEDULES = ("constant", "cosine")
TIME_SAMPLINGS = ("uniform", "importance")
DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, slots=True)
class StageConfig:
    """What every training stage needs.

    Attributes:
        epochs: Passes over the data, unless ``steps`` is given.
        steps: Optimiser steps; 0 takes ``epochs``.
        batch: Images (autoencoder) or objects (diffusion) per step.
        lr: Peak learning rate of Adam.
        lr_schedule: ``constant``, or ``cosine`` down to zero at the last step.
        warmup_steps: Steps of linear warm-up.
        ema: Decay of the exponential moving average of the weights; 0 for none.
        grad_clip: Largest gradient norm; 0 for no limit.
        log_every: Steps averaged into one point of the learning curve.
        save_every: Steps between saved training states.
        sheet_every: Steps between sample sheets; 0 for one at the end.
        keep_every: Steps between checkpoints that are kept for good; 0 for none.
        compile: Run the loss through torch.compile; pays off in long trainings on a GPU.
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
        _require_choice("lr_schedule", self.lr_schedule, LR_SCHEDULES)

    def total_steps(self, items: int) -> int:
        """Optimiser steps over a data set of ``items``."""
        return self.steps or self.epochs * -(-items // self.batch)


@dataclass(frozen=True, slots=True)
class AutoencoderStageConfig(StageConfig):
    """The autoencoder's objective.

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
        _require_choice("likelihood", self.likelihood, LIKELIHOODS)
        _require_choice("augment", self.augment, AUGMENTATIONS)
        _require_choice("autocast", self.autocast, AUTOCASTS)


@dataclass(frozen=True, slots=True)
class DiffusionStageConfig(StageConfig):
    """The score network's objective.

    Attributes:
        drop: Probability d that no view is known.
        times: ``uniform`` or ``importance``.
        mirror: Also train on mirrored objects. Needs views at equal angles all around, in this order: the mirror
            image of view v is then view V - v. Names such as front and left are checked; others cannot be.
        recolour: Also train on objects with their colour channels in every other order.
    """

    drop: float = 0.2
    times: str = "uniform"
    mirror: bool = False
    recolour: bool = False

    def __post_init__(self) -> None:
        StageConfig.__post_init__(self)
        if not 0 <= self.drop <= 1:
            raise InputError(f"drop must be in [0, 1], not {self.drop}")
        _require_choice("times", self.times, TIME_SAMPLINGS)


@dataclass(frozen=True, slots=True)
class ClassifierStageConfig(StageConfig):
    """The classifier's objective.

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
        _require_choice("augment", self.augment, AUGMENTATIONS)


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """How weights are stored in the checkpoint: ``float32``, ``float16`` or ``bfloat16``."""

    dtype: str = "float32"

    def __post_init__(self) -> None:
        _require_choice("dtype", self.dtype, DTYPES)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A whole training run.

    Attributes:
        seed: Seeds initial weights, data order, masks, times, noise and augmentation.
        validation: Fraction of the objects held out for the learning curves.
    """

    seed: int = 0
    validation: float = 0.05
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
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

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries, for JSON."""
        return dataclasses.asdict(self)

    def digest(self) -> str:
        """SHA-256 of the canonical JSON form, hex."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


_TABLES = {
    "autoencoder": AutoencoderConfig,
    "score": ScoreConfig,
    "autoencoder_stage": AutoencoderStageConfig,
    "diffusion_stage": DiffusionStageConfig,
    "classifier_stage": ClassifierStageConfig,
    "sampling": SamplingDefaults,
    "storage": StorageConfig,
}

# What a value of a field's type is called.
_MEANINGS = {"int": "a whole number", "float": "a finite number", "bool": "true or false", "str": "a name"}


def load_preset(name: str, overrides: tuple[str, ...] | list[str] = (), file: Path | None = None) -> TrainConfig:
    """A preset with values replaced, first by those of a file, then one by one.

    Args:
        name: One of ``PRESETS``.
        overrides: ``table.option=value`` or ``option=value`` in TOML syntax; a bare word counts as a string.
        file: TOML of the form of the presets, with as many of the values as it likes.

    Raises:
        InputError: For an unknown preset, table or option, a value that does not fit, or a file that is no TOML.
    """
    if name not in PRESETS:
        raise InputError(
            f"unknown preset {name!r}: choose from {', '.join(PRESETS)}; --config FILE takes values of your own"
        )
    text = resources.files("dimvida.training").joinpath("presets", f"{name}.toml").read_text()
    values = tomllib.loads(text)
    if file is not None:
        _merge(values, _read_toml(file))
    for override in overrides:
        _apply(values, override)
    return config_from_nested(values, f"preset {name}" if file is None else str(file))


def config_from_nested(values: dict[str, Any], where: str) -> TrainConfig:
    """Build a TrainConfig from nested tables, as in a preset or a saved run.

    Raises:
        InputError: For an unknown table or option, or a value that does not fit.
    """
    converted = dict(values)
    for name, kind in _TABLES.items():
        if name in converted:
            converted[name] = config_from_dict(kind, converted[name], f"{where}: {name}")
    return config_from_dict(TrainConfig, converted, where)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise InputError(f"--config {file}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # of the encoding or of the syntax
        raise InputError(f"--config {file}: not valid TOML ({error})") from None


def _merge(values: dict[str, Any], others: dict[str, Any]) -> None:
    for name, value in others.items():
        table = values.get(name)
        if isinstance(table, dict) and isinstance(value, dict):
            table.update(value)
        else:
            values[name] = value


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise InputError(f"--set {override}: expected TABLE.OPTION=VALUE")
    *tables, option = key.strip().split(".")
    if len(tables) > 1 or (tables and tables[0] not in _TABLES):
        raise InputError(f"--set {override}: unknown table; known are {', '.join(_TABLES)}")
    types = {field.name: str(field.type) for field in dataclasses.fields(_TABLES[tables[0]] if tables else TrainConfig)}
    options = [name for name in types if types[name] in _MEANINGS]
    if option not in options:
        raise InputError(f"--set {override}: unknown option {option!r}; known are {', '.join(options)}")
    value = _parse_value(text.strip())
    # Exact types: True is an int for Python, and 2.5 steps are none.
    if types[option] == "float" and type(value) is int:
        value = float(value)
    if type(value).__name__ != types[option] or (type(value) is float and not math.isfinite(value)):
        raise InputError(f"--set {override}: {option} must be {_MEANINGS[types[option]]}")
    target = values.setdefault(tables[0], {}) if tables else values
    target[option] = value


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name} {value!r}: choose from {', '.join(choices)}")
