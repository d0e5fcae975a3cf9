"""Times of the ops: ``pytest tests/bench --benchmark-enable``. Without that option each case runs once, as a test.

Shapes are those of the paper's model, four views of 64 latent numbers.
"""

from __future__ import annotations

import math

import pytest
import torch

from dimvida import ops
from dimvida.ops import reference

VIEWS, DIM = 4, 64
BATCHES = [64, 256, 4096]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible"),
        ],
    ),
]
ROWS = {
    "euler-maruyama": (0.8, 0.6, 0.5, 0.4, 0.0, 0.3),
    "ddim": (0.8, 0.6, 0.5, 0.4, 0.0, 0.0),
    "sde-dpmpp-2m": (0.8, 0.6, 0.5, 0.4, -0.1, 0.3),
}


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("out_dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("device", DEVICES)
def test_masked_step(benchmark, device, out_dtype, row, batch):
    generator = torch.Generator().manual_seed(0)
    shape = (batch, VIEWS, DIM)
    x, x0_prev, out = (torch.randn(shape, generator=generator).to(device) for _ in range(3))
    out = out.to(out_dtype)
    low = torch.empty_like(out)
    known = torch.zeros((batch, VIEWS), dtype=torch.bool, device=device)
    known[:, 0] = True
    table = torch.zeros((1, ops.TABLE_COLUMNS))
    table[0, :6] = torch.tensor(ROWS[row])
    table, ids = table.to(device), torch.arange(batch, device=device)
    step, seed = (torch.zeros(1, dtype=torch.int64, device=device) for _ in range(2))
    given = x[:, 0].clone()

    def run() -> None:
        ops.masked_step_(x, x0_prev, out, known, table, step, ids, seed, clip=4.0, low=low)
        synchronise(device)

    benchmark(run)
    assert x.isfinite().all()
    assert torch.equal(x[:, 0], given)
    assert torch.equal(low, x.to(out_dtype))


@pytest.mark.parametrize("batch", BATCHES[:2])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["op", "reference", "torch.randn"])
def test_noise(benchmark, kind, device, batch):
    z = torch.full((batch, VIEWS, DIM), math.nan, device=device)
    ids, seed = torch.arange(batch, device=device), torch.tensor([1], device=device)

    def run() -> None:
        if kind == "op":
            ops.philox_normal_(z, ids, seed, 0)
        elif kind == "reference":
            reference.philox_normal_(z, ids, seed, 0)
        else:
            z.normal_()
        synchronise(device)

    benchmark(run)
    assert z.isfinite().all()
