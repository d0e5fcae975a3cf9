"""Checkpoints: a folder with ``config.json`` and three safetensors files. No pickle is ever loaded.

    config.json              schema version, sizes, view and class names, sampling defaults, provenance, and the
                             SHA-256 of the other files
    autoencoder.safetensors  weights of the autoencoder (EMA)
    score.safetensors        weights of the score network (EMA)
    latents.safetensors      per-dimension mean and std of the training latents

Each file is replaced atomically; meanwhile ``config.json`` has the SHA-256 of old and new ones. A crash between two of
them leaves files of neighbouring moments of one training, each whole.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dimvida.errors import InputError
from dimvida.files import atomic_write
from dimvida.models.autoencoder import Autoencoder, build_autoencoder
from dimvida.models.config import AnyAutoencoderConfig, AnyScoreConfig
from dimvida.models.familiarity import InputStatistics
from dimvida.models.hub import SCHEME, hub_snapshot
from dimvida.models.score_network import MultiTimeNetwork
from dimvida.models.weights import (
    JSON_LIMIT,
    pack_weights,
    parse_json,
    read_regular,
    read_weights,
    tensors_of,
    unpack_weights,
    user_path,
)
from dimvida.records import LATER, config_from_json, options_to_json, require_positive
from dimvida.remote import shown, url_of

SCHEMA = 1
CONFIG_FILE = "config.json"
WEIGHT_FILES = ("autoencoder.safetensors", "score.safetensors", "latents.safetensors")
FAR = 1000.0  # standard deviations
_INDIFFERENT = ("sha256", "inputs", "trained_cameras")  # parts of the configuration that change no picture
BUNDLED = Path(__file__).parents[1] / "assets" / "checkpoint"


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """How this checkpoint samples best unless the caller says otherwise.

    Attributes:
        solver: Name of a solver, one of ``dimvida.diffusion.solvers.SOLVERS``.
        steps: Network evaluations of a trajectory.
        x0_clip: Clamp of the predicted clean latents in standard deviations; 0 for none.
    """

    solver: str = "euler-maruyama"
    steps: int = 250
    x0_clip: float = 0.0

    def __post_init__(self) -> None:
        require_positive(self)
        if not self.x0_clip >= 0:
            raise InputError(f"x0_clip must not be negative: {self.x0_clip}")
        if self.x0_clip == math.inf:
            raise InputError("x0_clip must be finite; 0 clamps nothing")


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """Everything in ``config.json``.

    Attributes:
        view_names: Names of the V views, in the order of the latents.
        classes: Names of the classes of the training data; may be empty.
        autoencoder, score: Sizes of the networks.
        beta0, beta1: Noise rates of the variance-preserving schedule at times 0 and 1.
        sampling: How this checkpoint samples by default.
        provenance: Where the weights come from: data, configuration, steps, measured quality.
        inputs: What its training images look like; None where nobody measured it.
        cameras: Azimuth and elevation in degrees of each view, of a model that is conditioned on cameras; None of one
            that knows its views by name.
        trained_cameras: Those of all views of its training, where these are others than the named ones; else None.
    """

    view_names: tuple[str, ...]
    classes: tuple[str, ...]
    autoencoder: AnyAutoencoderConfig
    score: AnyScoreConfig
    beta0: float = 0.1
    beta1: float = 20.0
    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)
    provenance: dict[str, Any] = field(default_factory=dict)
    inputs: InputStatistics | None = field(default=None, metadata=LATER)
    cameras: tuple[tuple[float, float], ...] | None = field(default=None, metadata=LATER)
    trained_cameras: tuple[tuple[float, float], ...] | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        if len(self.view_names) < 2:
            raise InputError(f"a model needs at least 2 views, not {list(self.view_names)}")
        if len(set(self.view_names)) != len(self.view_names):
            raise InputError(f"view names repeat: {list(self.view_names)}")
        if self.inputs is not None and len(self.inputs.background) != self.autoencoder.channels:
            raise InputError(f"inputs: background must have {self.autoencoder.channels} levels")
        self.score.require_latents(self.autoencoder.latent_shape)
        if self.cameras is not None:
            self.score.require_cameras(self.cameras, len(self.view_names))
        if self.trained_cameras is not None:
            if self.cameras is None:
                raise InputError("trained_cameras: the named views have no cameras")
            self.score.require_cameras(self.trained_cameras, len(self.trained_cameras))

    def build(self) -> tuple[Autoencoder, MultiTimeNetwork]:
        """Freshly initialised networks of these sizes, in float32 whatever the default dtype is."""
        placed = () if self.cameras is None else (self.cameras,)
        score = self.score.build(len(self.view_names), self.autoencoder.latent_shape, *placed)
        return build_autoencoder(self.autoencoder).float(), score.float()


@dataclass(slots=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        config: What its ``config.json`` says.
        autoencoder, score: The networks, in float32 on the CPU, in evaluation mode.
        latent_mean, latent_std: float32 [D], the standardisation of latents.
        digest: Its name, hex: SHA-256 over what decides about its pictures, the configuration and the weights.
    """

    config: CheckpointConfig
    autoencoder: Autoencoder
    score: MultiTimeNetwork
    latent_mean: Tensor
    latent_std: Tensor
    digest: str = ""


def save_checkpoint(folder: str | Path, checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> None:
    """Write a checkpoint folder; ``dtype`` is what the network weights are stored in."""
    folder = user_path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    latents = {"mean": checkpoint.latent_mean, "std": checkpoint.latent_std}
    parts = (
        pack_weights(checkpoint.autoencoder.state_dict(), dtype),
        pack_weights(checkpoint.score.state_dict(), dtype),
        pack_weights(latents, torch.float32),
    )
    files = dict(zip(WEIGHT_FILES, parts, strict=True))
    hashes = {name: [hashlib.sha256(data).hexdigest()] for name, data in files.items()}
    if (folder / CONFIG_FILE).exists():
        _write_config(folder, checkpoint.config, _together(hashes, _written_hashes(folder)))
    for name, data in files.items():
        atomic_write(folder / name, data)
    _write_config(folder, checkpoint.config, hashes)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Load a checkpoint folder, a training run that contains one, ``bundled``, or ``hf://owner/name[@revision]``.

    Raises:
        InputError: If it is missing, of another schema, damaged, contains values that are not finite, or holds
            pickles where safetensors files belong.
    """
    folder = _find_folder(path)
    while True:
        data = read_regular(folder / CONFIG_FILE, JSON_LIMIT)
        try:
            return _load(folder, data)
        except InputError:
            # A training that replaces its files while they are read is no damage.
            if read_regular(folder / CONFIG_FILE, JSON_LIMIT) == data:
                raise


def _load(folder: Path, data: bytes) -> Checkpoint:
    path = folder / CONFIG_FILE
    values = _parse_values(data, path)
    digest, hashes = hashlib.sha256(_deciding(values)), _parse_hashes(values.pop("sha256", None), path)
    config = _parse_config(values, path)
    states = []
    for name, expected in zip(WEIGHT_FILES, _expected(config, path), strict=True):
        weights = read_weights(folder / name, expected, CONFIG_FILE, hashes.get(name))
        digest.update(weights)
        states.append(unpack_weights(weights, expected, folder / name))
    with torch.random.fork_rng(devices=[]):  # initial weights, about to be replaced, are no reason to draw
        autoencoder, score = config.build()
    autoencoder.load_state_dict(states[0])
    score.load_state_dict(states[1])
    mean, std = _latent_statistics(states[2], folder / WEIGHT_FILES[2])
    return Checkpoint(config, autoencoder.eval(), score.eval(), mean, std, digest.hexdigest())


def _find_folder(path: str | Path) -> Path:
    if (url := url_of(path)) is not None:
        if not url.startswith(SCHEME):
            raise InputError(f"checkpoint {shown(url)}: models are read from folders, and from hf://owner/name")
        return hub_snapshot(url, (CONFIG_FILE, *WEIGHT_FILES))
    folder = BUNDLED if str(path) == "bundled" else user_path(path)
    for candidate in (folder, folder / "checkpoint"):
        try:
            os.stat(candidate / CONFIG_FILE)
            return candidate
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"checkpoint {folder}: cannot be read ({reason})") from None
    if not folder.exists():
        raise InputError(f"checkpoint {folder} does not exist; give a folder with {CONFIG_FILE}, or 'bundled'")
    if not folder.is_dir():
        raise InputError(f"checkpoint {folder} is a file; give the folder that holds {CONFIG_FILE}")
    raise InputError(f"{folder} is not a checkpoint: it has no {CONFIG_FILE}")


def _write_config(folder: Path, config: CheckpointConfig, hashes: dict[str, list[str]]) -> None:
    values = {"schema": SCHEMA, **options_to_json(config)}
    if hashes:
        values["sha256"] = {name: known[0] if len(known) == 1 else known for name, known in hashes.items()}
    atomic_write(folder / CONFIG_FILE, json.dumps(values, indent=2) + "\n")


def _written_hashes(folder: Path) -> dict[str, list[str]]:
    """The hashes that a configuration has; none if there are none, or it is damaged."""
    path = folder / CONFIG_FILE
    try:
        return _parse_hashes(_parse_values(read_regular(path, JSON_LIMIT), path).get("sha256"), path)
    except InputError:
        return {}


def _together(new: dict[str, list[str]], old: dict[str, list[str]]) -> dict[str, list[str]]:
    """The hashes that files may have while they are replaced: the old or the new; any if the old ones are not known."""
    return {name: list(dict.fromkeys(known + old[name])) for name, known in new.items()} if old else {}


def _parse_values(data: bytes, path: Path) -> dict[str, Any]:
    values = parse_json(data, path)
    if not isinstance(values, dict) or type(values.get("schema")) is not int:
        raise InputError(f"{path}: not a checkpoint configuration: it has no integer 'schema'")
    schema = values["schema"]
    if schema > SCHEMA:
        raise InputError(f"{path}: schema {schema} is newer than this dimvida reads ({SCHEMA}); upgrade dimvida")
    if schema < SCHEMA:
        raise InputError(f"{path}: schema {schema} is not one that this dimvida reads ({SCHEMA})")
    return values


def _deciding(values: dict[str, Any]) -> bytes:
    """What names a checkpoint beside its weights: the configuration as it was written before it had hashes."""
    kept = {name: value for name, value in values.items() if name not in _INDIFFERENT}
    return (json.dumps(kept, indent=2) + "\n").encode()


def _parse_hashes(values: Any, path: Path) -> dict[str, list[str]]:
    if values is None:  # written by an earlier version
        return {}
    if not isinstance(values, dict) or set(values) != set(WEIGHT_FILES):
        raise InputError(f"{path}: sha256 must name {', '.join(WEIGHT_FILES)}")
    hashes = {name: known if isinstance(known, list) else [known] for name, known in values.items()}
    for name, known in hashes.items():
        if not all(isinstance(item, str) for item in known):
            raise InputError(f"{path}: sha256: {name} must be in hexadecimal digits")
    return hashes


def _expected(config: CheckpointConfig, path: Path) -> tuple[dict[str, Tensor], ...]:
    """What each of the weight files must hold."""
    networks = tensors_of(lambda: nn.ModuleList(config.build()), path)
    parts = ({}, {})
    for name, tensor in networks.items():
        place, _, inner = name.partition(".")
        parts[int(place)][inner] = tensor
    statistics = torch.empty(config.autoencoder.latent_dim, device="meta")
    return *parts, {"mean": statistics, "std": statistics}


def _parse_config(values: dict[str, Any], path: Path) -> CheckpointConfig:
    del values["schema"]
    config = config_from_json(CheckpointConfig, values, str(path))
    if not (math.isfinite(config.beta1) and 0 < config.beta0 < config.beta1):
        raise InputError(f"{path}: beta0 and beta1 must satisfy 0 < beta0 < beta1")
    return config


def _latent_statistics(state: dict[str, Tensor], path: Path) -> tuple[Tensor, Tensor]:
    mean, std = state["mean"], state["std"]
    if not (std > 0).all():
        raise InputError(f"{path}: std must be above 0")
    # No latent is that far off, and none of these may overflow on the way from pixels or back to them.
    if not torch.stack([mean.abs() + FAR * std, (mean.abs() + FAR) / std]).isfinite().all():
        raise InputError(f"{path}: mean and std are out of range: standardised latents would not be finite")
    return mean, std
