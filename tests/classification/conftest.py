"""Objects of which one view is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers.objects import VIEWS

from dimvida.classification.objects import SingleViews


@pytest.fixture(scope="module", autouse=True)
def in_one_thread(one_thread: None) -> None:
    """For every test of this folder."""


@pytest.fixture
def single_views() -> Callable[..., SingleViews]:
    """Makes N objects of two classes by turns, known from each view by turns."""

    def make(count: int = 6, size: int = 16, seed: int = 0) -> SingleViews:
        images = torch.randint(
            0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
        )
        numbers = torch.arange(count)
        ids = tuple(f"object {number}" for number in range(count))
        return SingleViews(images, numbers % len(VIEWS), numbers % 2, ids, VIEWS)

    return make
