"""The shard plan depends on the rows and the sizes alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimvida.errors import InputError
from dimvida.generation.loading import pieces
from dimvida.generation.shards import MOST, cut_shards, default_shard_size

SIZES = st.integers(1, 300)


@given(rows=SIZES, size=SIZES, batch=SIZES)
def test_every_row_is_in_one_batch_of_one_shard_in_order(rows: int, size: int, batch: int):
    shards = cut_shards(rows, size)
    assert [shard.number for shard in shards] == list(range(-(-rows // size)))
    batches = [batch_rows for shard in shards for batch_rows in shard.batches(batch)]
    assert [row for batch_rows in batches for row in batch_rows] == list(range(rows))
    assert max(map(len, batches)) <= min(batch, size)
    read = list(pieces(shards, batch))
    assert [row for piece in read for row in piece.rows] == list(range(rows))
    assert [piece.rows.stop for piece in read if piece.ends_batch] == [batch_rows.stop for batch_rows in batches]
    assert [piece.rows.stop for piece in read if piece.ends_shard] == [shard.stop for shard in shards]


def test_so_many_shards_that_nobody_could_list_them():
    assert len(cut_shards(MOST, 1)) == MOST
    with pytest.raises(InputError, match=r"--shard-size 7: .* would be 142,857,142,857,142,858 shards, more than"):
        cut_shards(10**18, 7)


@given(st.integers(1, 20_000))
def test_shards_hold_whole_batches(batch: int):
    size = default_shard_size(batch)
    assert size % batch == 0
    assert 1024 <= size < 1024 + batch or size == batch
