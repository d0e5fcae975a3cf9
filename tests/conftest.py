"""Fixtures that several test folders share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def modelnet_zip() -> Path:
    """The ModelNet10 views, real data in the folder form; too large for the repository."""
    path = Path(__file__).parents[2] / "shared" / "data" / "modelnet10_views.zip"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this checkout")
    return path
