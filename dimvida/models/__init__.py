"""Networks, their sizes and their checkpoints."""

from dimvida.models.autoencoder import Autoencoder, build_autoencoder
from dimvida.models.config import AutoencoderConfig, ScoreConfig
from dimvida.models.score_network import ScoreNetwork

__all__ = ["Autoencoder", "AutoencoderConfig", "ScoreConfig", "ScoreNetwork", "build_autoencoder"]
