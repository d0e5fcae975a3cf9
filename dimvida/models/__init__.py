"""Networks, their sizes and their checkpoints."""

from dimvida.models.autoencoder import Autoencoder, AutoencoderConfig, GridAutoencoderConfig, build_autoencoder
from dimvida.models.score_network import MultiTimeNetwork, ScoreConfig, ScoreNetwork
from dimvida.models.transformer import TransformerConfig, ViewTransformer

__all__ = [
    "Autoencoder",
    "AutoencoderConfig",
    "GridAutoencoderConfig",
    "MultiTimeNetwork",
    "ScoreConfig",
    "ScoreNetwork",
    "TransformerConfig",
    "ViewTransformer",
    "build_autoencoder",
]
