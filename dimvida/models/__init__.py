"""Networks, their sizes and their checkpoints."""

from dimvida.models.autoencoder import Autoencoder, build_autoencoder
from dimvida.models.config import AutoencoderConfig, GridAutoencoderConfig, ScoreConfig, TransformerConfig
from dimvida.models.score_network import MultiTimeNetwork, ScoreNetwork
from dimvida.models.transformer import ViewTransformer

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
