"""Checkpoints: a folder with ``config.json`` and three safetensors files. No pickle is ever loaded.

    config.json              schema version, sizes, view and class names, sampling defaults, provenance
    autoencoder.safetensors  weights of the autoencoder (EMA)
    score.safetensors        weights of the score network (EMA)
    latents.safetensors      per-dimension mean and std of the training latents

Each file is replaced atomically. A crash between two of them leaves files of neighbouring moments of one
training, each whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dimvida.errors import InputError
from dimvida.files import atomic_path, atomic_write
from dimvida.models.autoencoder import Autoencoder, build_autoencoder
from dimvida.models.config import AutoencoderConfig, ScoreConfig, config_from_dict
from dimvida.models.score_network import ScoreNetwork

SCHEMA = 1
CONFIG_FILE = "config.json"
WEIGHT_FILES = ("autoencoder.safetensors", "score.safetensors", "latents.safetensors")
BUNDLED = Path(__file__).parents[1] / "assets" / "checkpoint"


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """How this checkpoint samples best unless the caller says otherwise.

    Attributes:
        solver: Solver name.
        steps: Network evaluations.
        x0_clip: Clamp of the predicted clean latents in standard deviations; 0 for none.
    """

    solver: str = "euler-maruyama"
    steps: int = 250
    x0_clip: float = 0.0


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """Everything in ``config.json``.

    Attributes:
        view_names: Names of the V views, in the order of the latents.
        classes: Names of the classes of the training data; may be empty.
        autoencoder, score: Sizes of the networks.
        beta0, beta1: Noise schedule.
        sampling: Defaults for sampling.
        provenance: Where the weights come from: data, configuration, steps, measured quality.
    """

    view_names: tuple[str, ...]
    classes: tuple[str, ...]
    autoencoder: AutoencoderConfig
    score: ScoreConfig
    beta0: float = 0.1
    beta1: float = 20.0
    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.view_names) < 2:
            raise InputError(f"a model needs at least 2 views, not {list(self.view_names)}")
        if len(set(self.view_names)) != len(self.view_names):
            raise InputError(f"view names repeat: {list(self.view_names)}")

    def build(self) -> tuple[Autoencoder, ScoreNetwork]:
        """Freshly initialised networks of these sizes."""
        score = ScoreNetwork(
            len(self.view_names),
            self.autoencoder.latent_dim,
            self.score.width,
            self.score.time_dim,
            self.score.groups,
        )
        return build_autoencoder(self.autoencoder), score


@dataclass(slots=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        config: Its configuration.
        autoencoder, score: The networks, in float32 on the CPU, in evaluation mode.
        latent_mean, latent_std: float32 [D], the standardisation of latents.
        digest: SHA-256 over its files, hex.
    """

    config: CheckpointConfig
    autoencoder: Autoencoder
    score: ScoreNetwork
    latent_mean: Tensor
    latent_std: Tensor
    digest: str = ""


def save_checkpoint(folder: str | Path, checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> None:
    """Write a checkpoint folder; ``dtype`` is what the network weights are stored in."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _save_weights(folder / WEIGHT_FILES[0], checkpoint.autoencoder.state_dict(), dtype)
    _save_weights(folder / WEIGHT_FILES[1], checkpoint.score.state_dict(), dtype)
    latents = {"mean": checkpoint.latent_mean, "std": checkpoint.latent_std}
    _save_weights(folder / WEIGHT_FILES[2], latents, torch.float32)
    config = {"schema": SCHEMA, **dataclasses.asdict(checkpoint.config)}
    atomic_write(folder / CONFIG_FILE, json.dumps(config, indent=2) + "\n")


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Load a checkpoint folder, a training run that contains one, or ``bundled``.

    Raises:
        InputError: If it is missing, of another schema, damaged, contains values that are not finite, or holds
            pickles where safetensors files belong.
    """
    folder = _find_folder(path)
    config_bytes = _read(folder / CONFIG_FILE)
    config = _parse_config(config_bytes, folder / CONFIG_FILE)
    with torch.random.fork_rng(devices=[]):  # initial weights, about to be replaced, are no reason to draw
        autoencoder, score = config.build()
    digest = hashlib.sha256(config_bytes)
    states = []
    for name in WEIGHT_FILES:
        digest.update(_read(folder / name))
        states.append(_load_weights(folder / name))
    _fill(autoencoder, states[0], folder / WEIGHT_FILES[0])
    _fill(score, states[1], folder / WEIGHT_FILES[1])
    mean, std = _latent_statistics(states[2], config.autoencoder.latent_dim, folder / WEIGHT_FILES[2])
    return Checkpoint(config, autoencoder.eval(), score.eval(), mean, std, digest.hexdigest())


def _find_folder(path: str | Path) -> Path:
    folder = BUNDLED if str(path) == "bundled" else Path(path)
    for candidate in (folder, folder / "checkpoint"):
        if (candidate / CONFIG_FILE).is_file():
            return candidate
    if not folder.exists():
        raise InputError(f"checkpoint {folder} does not exist; give a folder with {CONFIG_FILE}, or 'bundled'")
    if folder.is_file():
        raise InputError(f"checkpoint {folder} is a file; give the folder that holds {CONFIG_FILE}")
    raise InputError(f"{folder} is not a checkpoint: it has no {CONFIG_FILE}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _parse_config(data: bytes, path: Path) -> CheckpointConfig:
    try:
        values = json.loads(data)
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(values, dict) or not isinstance(values.get("schema"), int):
        raise InputError(f"{path}: not a checkpoint configuration: it has no integer 'schema'")
    schema = values.pop("schema")
    if schema > SCHEMA:
        raise InputError(f"{path}: schema {schema} is newer than this dimvida reads ({SCHEMA}); upgrade dimvida")
    if schema < SCHEMA:
        raise InputError(f"{path}: schema {schema} is not one that this dimvida reads ({SCHEMA})")
    parts = {"autoencoder": AutoencoderConfig, "score": ScoreConfig, "sampling": SamplingDefaults}
    for name, kind in parts.items():
        if name in values:
            values[name] = config_from_dict(kind, values[name], f"{path}: {name}")
    for name in ("view_names", "classes"):
        names = values.get(name)
        if not isinstance(names, list) or not all(isinstance(item, str) for item in names):
            raise InputError(f"{path}: {name} must be a list of names")
        values[name] = tuple(names)
    config = config_from_dict(CheckpointConfig, values, str(path))
    if not (math.isfinite(config.beta1) and 0 < config.beta0 < config.beta1):
        raise InputError(f"{path}: beta0 and beta1 must satisfy 0 < beta0 < beta1")
    return config


def _save_weights(path: Path, state: dict[str, Tensor], dtype: torch.dtype) -> None:
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in state.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)


def _load_weights(path: Path) -> dict[str, Tensor]:
    with open(path, "rb") as file:
        start = file.read(2)
    # A zip (torch.save) or a bare pickle protocol marker: loading either could run code.
    if start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise InputError(f"{path}: is a pickle, not a safetensors file; pickles are never loaded from a checkpoint")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: not a valid safetensors file ({error})") from None
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise InputError(f"{path}: {name} has values that are not finite (NaN or infinity)")
    return {name: tensor.float() for name, tensor in state.items()}


def _fill(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: does not fit {CONFIG_FILE}: {reason}") from None


def _latent_statistics(state: dict[str, Tensor], latent_dim: int, path: Path) -> tuple[Tensor, Tensor]:
    mean, std = state.get("mean"), state.get("std")
    if mean is None or std is None or mean.shape != (latent_dim,) or std.shape != (latent_dim,):
        raise InputError(f"{path}: needs 'mean' and 'std' of shape [{latent_dim}]")
    if not (std > 0).all():
        raise InputError(f"{path}: std must be above 0")
    return mean, std
