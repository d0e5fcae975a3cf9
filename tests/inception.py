"""A random Inception network in the form of the file that FID's weights come in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


def write_inception(path: Path, seed: int = 0) -> Path:
    """Weights with torch-fidelity's names, scaled so that pictures give different features; skips without it."""
    package = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    class Untrained(package.FeatureExtractorInceptionV3):
        def load_state_dict(self, *arguments: object, **options: object) -> None:
            """Stay as it was made."""

    torch.manual_seed(seed)
    torch.save({}, path)
    network = Untrained("inception-v3-compat", ["2048"], str(path))
    for parameter in network.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    torch.save(network.state_dict(), path)
    return path
