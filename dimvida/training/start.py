"""What a training run begins with: first weights, and the hash by which a saved state is known to be of this run."""

from __future__ import annotations

import hashlib
import json

import torch

from dimvida._version import __version__
from dimvida.errors import InputError
from dimvida.models.checkpoint import Checkpoint, CheckpointConfig
from dimvida.models.score_network import ScoreNetwork
from dimvida.training.config import TrainConfig
from dimvida.training.dataset import TrainingData
from dimvida.training.seeds import derived_seed, seeded

# The parts of a configuration that decide about a stage's result.
_DECIDING = {
    "autoencoder": ("seed", "validation", "autoencoder", "autoencoder_stage"),
    "diffusion": ("seed", "validation", "autoencoder", "autoencoder_stage", "score", "diffusion_stage"),
}

# Options of a stage that do not.
_INDIFFERENT = ("keep_every",)


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
        if is_trained(init.score):
            score.load_state_dict(init.score.state_dict())
    ones = torch.ones(config.autoencoder.latent_dim)
    return Checkpoint(checkpoint_config, autoencoder.to(device), score.to(device), torch.zeros_like(ones), ones)


def is_trained(score: ScoreNetwork) -> bool:
    """Whether a score network has been trained: its last layer starts at zero and leaves it with the first step."""
    return bool(score.output.weight.any())


def stage_digest(stage: str, config: TrainConfig, data: str, init: str | None) -> str:
    """Hash of everything that decides about a stage's result.

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
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def _require_alike(init: Checkpoint, ours: CheckpointConfig) -> None:
    names = ("view_names", "autoencoder", "score") if is_trained(init.score) else ("view_names", "autoencoder")
    for name in names:
        theirs, wanted = getattr(init.config, name), getattr(ours, name)
        if theirs != wanted:
            raise InputError(f"--init: that checkpoint has {name} {theirs}, this run {wanted}; they must be the same")
