"""What is not finite is named by its place in the batch."""

from __future__ import annotations

import math

import pytest
import torch

from dimvida.errors import DimvidaError, NotFinite
from dimvida.sampling.finite import finite_rows, require_finite


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_rows_are_named(bad: float, dtype: torch.dtype):
    latents = torch.randn(5, 4, 6).to(dtype)
    require_finite("latents", latents)
    latents[1, 3, 5] = latents[4, 0, 0] = bad
    with pytest.raises(NotFinite, match="latents of rows 1, 4 of the batch are not finite") as caught:
        require_finite("latents", latents)
    assert (caught.value.what, caught.value.rows) == ("latents", (1, 4))
    assert isinstance(caught.value, DimvidaError)


def test_many_rows_make_one_short_line():
    with pytest.raises(NotFinite, match="images of rows 0, 1, 2, 3, 4, 5, 6, 7 and 12 more") as caught:
        require_finite("images", torch.full((20, 4, 3, 8, 8), math.nan))
    assert caught.value.rows == tuple(range(20))


def test_a_largest_number_is_finite_and_so_is_nothing():
    assert finite_rows(torch.full((2, 3), torch.finfo(torch.float32).max)).tolist() == [True, True]
    assert finite_rows(torch.zeros(0, 4, 6)).tolist() == []
    assert finite_rows(torch.zeros(3, 0)).tolist() == [True] * 3
    assert finite_rows(torch.tensor([1.0, math.nan])).tolist() == [True, False]
