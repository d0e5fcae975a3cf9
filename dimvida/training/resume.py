"""What a training run begins with: first weights, and the hash by which a saved state is known to be of this run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch

from dimvida._version import __version__
from dimvida.errors import InputError
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig
from dimvida.training.config import TrainConfig
from dimvida.training.data import TrainingData
from dimvida.training.folder import STAGES, RunFolder, another_configuration
from dimvida.training.seeds import derived_seed, seeded

# The parts of a configuration that decide about a stage's result.
_DECIDING = {
    "autoencoder": ("seed", "validation", "autoencoder", "autoencoder_stage"),
    "diffusion": ("seed", "validation", "autoencoder", "autoencoder_stage", "score", "diffusion_stage"),
}

# Options of a stage that do not.
_INDIFFERENT = ("keep_every",)

# Those that say how long a stage is, which may be trained longer.
_LENGTHS = ("steps", "epochs")

# Those that say how often something is written: free as long as the stage has not begun.
_WRITING = ("log_every", "save_every", "sheet_every")


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


def stage_digests(stage: str, config: TrainConfig, data: str, init: str | None) -> tuple[str, str]:
    """Hashes of what decides about a stage's result: without its own length, and with it, as older states have it.

    Args:
        stage: ``autoencoder`` or ``diffusion``.
        config: The run's configuration.
        data: Digest of the images.
        init: Digest of the first weights, if they are not random.
    """
    values = config.to_dict()
    for table in ("autoencoder_stage", "diffusion_stage"):
        values[table] = {name: value for name, value in values[table].items() if name not in _INDIFFERENT}
    relevant = {name: values[name] for name in _DECIDING[stage]} | {"data": data}
    if init is not None:
        relevant["init"] = init
    own = relevant[f"{stage}_stage"]
    endless = {**relevant, f"{stage}_stage": {name: own[name] for name in own if name not in _LENGTHS}}
    without, whole = (json.dumps(content, sort_keys=True).encode() for content in (endless, relevant))
    return hashlib.sha256(without).hexdigest(), hashlib.sha256(whole).hexdigest()


def changed_options(before: Mapping[str, Any], config: TrainConfig, begun: Collection[str]) -> list[str]:
    """What a configuration changes in a run and may not, as ``diffusion_stage.lr: 0.001 -> 0.002``.

    Args:
        before: The run's configuration, as ``TrainConfig.to_dict`` gives it.
        config: With which it is to go on.
        begun: The stages that have begun. The last one may get another length, and so may those to come.
    """
    free = {f"{stage}_stage.{name}" for stage in STAGES for name in _INDIFFERENT}
    free |= {f"{stage}_stage.{name}" for stage in STAGES if stage not in begun for name in _WRITING}
    free |= {f"diffusion_stage.{name}" for name in _LENGTHS}
    if "diffusion" not in begun:  # which trains on the autoencoder's latents
        free |= {f"autoencoder_stage.{name}" for name in _LENGTHS}
    return [
        f"{name}: {old} -> {new}"
        for name, old, new in _differences(before, config)
        if name.split(".")[0] in _DECIDING["diffusion"] and name not in free
    ]


def require_same_options(folder: RunFolder, config: TrainConfig) -> None:
    """Raise InputError, with their names, if a run would go on with options that change what has been planned."""
    before = folder.description().get("configuration")
    changes = [] if before is None else changed_options(before, config, folder.begun())
    if changes:
        raise another_configuration(folder.path, changes)


def changed_lengths(before: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """One line for each stage that gets another length, with what this means for its learning rate."""
    lines = []
    for name, old, new in _differences(before, config):
        table, _, option = name.partition(".")
        if option in _LENGTHS and table.removesuffix("_stage") in STAGES:
            schedule = getattr(config, table).lr_schedule
            rate = "; the learning rate goes on along the cosine of the new length" if schedule == "cosine" else ""
            lines.append(f"{name}: {old} -> {new}{rate}")
    return lines


def _differences(before: Mapping[str, Any], config: TrainConfig) -> Iterator[tuple[str, Any, Any]]:
    """Name, old and new value of every option that differs; one that an older version did not know has its default."""
    defaults = TrainConfig().to_dict()
    for name, new in config.to_dict().items():
        old = before.get(name, defaults[name])
        if not isinstance(new, dict):
            new, old = {"": new}, {"": old}
        for option, value in new.items():
            known = old.get(option, defaults[name][option] if option else value) if isinstance(old, dict) else None
            if known != value:
                yield f"{name}.{option}".rstrip("."), known, value


def _require_alike(init: Checkpoint, ours: CheckpointConfig) -> None:
    names = ("view_names", "autoencoder", "score") if init.score.is_trained else ("view_names", "autoencoder")
    for name in names:
        theirs, wanted = getattr(init.config, name), getattr(ours, name)
        if theirs != wanted:
            raise InputError(f"--init: that checkpoint has {name} {theirs}, this run {wanted}; they must be the same")
