"""The order of batches is a function of the seed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dimvida.training.seeds import BatchOrder


@given(items=st.integers(1, 60), batch=st.integers(1, 70), seed=st.integers(0, 2**32))
def test_each_epoch_covers_every_item_once(items: int, batch: int, seed: int):
    order = BatchOrder(items, batch, seed, "test")
    for epoch in range(2):
        steps = range(epoch * order.batches_per_epoch, (epoch + 1) * order.batches_per_epoch)
        seen = sorted(index for step in steps for index in order.indices(step).tolist())
        assert seen == list(range(items))


def test_a_batch_is_known_without_the_ones_before_it():
    walked, jumped = BatchOrder(50, 8, 3, "test"), BatchOrder(50, 8, 3, "test")
    batches = [walked.indices(step).tolist() for step in range(20)]
    assert jumped.indices(17).tolist() == batches[17]
    assert batches[:7] != batches[7:14]
