"""A checkpoint with random weights, and where it is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.networks import make_checkpoint

from dimvida.models.checkpoint import Checkpoint, save_checkpoint


@pytest.fixture
def checkpoint() -> Checkpoint:
    return make_checkpoint(0)


@pytest.fixture
def folder(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "saved", checkpoint)
    return tmp_path / "saved"
