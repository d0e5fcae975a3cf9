"""Networks, their sizes and their checkpoints."""

from dimvida.models.autoencoder import Autoencoder, AutoencoderConfig, build_autoencoder
from dimvida.models.score_network import MultiTimeNetwork, ScoreConfig, ScoreNetwork

__all__ = [
    "Autoencoder",
    "AutoencoderConfig",
    "MultiTimeNetwork",
    "ScoreConfig",
    "ScoreNetwork",
    "build_autoencoder",
]
