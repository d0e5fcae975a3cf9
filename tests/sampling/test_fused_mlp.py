"""Shapes that batches have in common, and the masks of a batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dimvida.sampling import fused_mlp
from dimvida.sampling.fused_mlp import FEW_MASKS, distinct_masks, fixed_masks
from dimvida.sampling.trajectory import fixed_rows, padded


@given(rows=st.integers(1, 2**20))
def test_rows_are_padded_by_an_eighth_at_most(rows: int):
    fixed = fixed_rows(rows)
    assert rows <= fixed <= rows * 9 / 8
    assert fixed_rows(fixed) == fixed


def test_a_batch_without_some_rows_has_the_shape_of_a_whole_one():
    assert {fixed_rows(rows) for rows in range(4096 - 250, 4097)} == {4096}
    assert [fixed_rows(1 << power) for power in range(16)] == [1 << power for power in range(16)]
    assert len({fixed_rows(rows) for rows in range(2049, 4097)}) == 8


def test_the_number_of_masks_takes_few_values():
    assert {fixed_masks(count, 4) for count in range(1, 17)} == {16}
    assert {fixed_masks(count, 2) for count in range(1, 5)} == {4}
    assert {fixed_masks(count, 24) for count in range(1, 4097)} == {16 << power for power in range(9)}


@given(
    views=st.integers(2, 7),
    rows=st.integers(1, 40),
    held=st.sampled_from([0, 1, 7, 10**6]),
    hosted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_each_row_finds_its_mask(views: int, rows: int, held: int, hosted: bool, seed: int):
    known = torch.rand(rows, views, generator=torch.Generator().manual_seed(seed)) < 0.5
    masks, mask = distinct_masks(known, known if hosted else None, held)
    assert masks.dtype == torch.bool and mask.dtype == torch.int64
    assert torch.equal(masks[mask], known)
    distinct = len(torch.unique(known, dim=0))
    assert len(masks) == fixed_masks(distinct, views) or len(masks) == distinct <= held


def test_few_views_need_no_look_at_the_masks():
    # What looks at values would make the host wait for a GPU; meta tensors have none.
    known = torch.zeros(9, 4, dtype=torch.bool, device="meta")
    masks, mask = distinct_masks(known, None, 10**6)
    assert masks.shape == (FEW_MASKS, 4) and mask.shape == (9,)


def test_masks_that_the_host_knows_are_not_fetched(monkeypatch):
    known = torch.rand(9, 24) < 0.5
    monkeypatch.setattr(fused_mlp, "upload", lambda tensor, device: tensor)
    masks, mask = distinct_masks(known.to("meta"), known, 10**6)
    assert torch.equal(masks[mask], known)


def test_padding_is_zeros_and_nothing_where_none_is_needed():
    tensor = torch.randn(3, 2)
    assert padded(tensor, 3) is tensor
    assert torch.equal(padded(tensor, 5), torch.cat([tensor, torch.zeros(2, 2)]))
    with pytest.raises(RuntimeError):
        padded(tensor, 2)
