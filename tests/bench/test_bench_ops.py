"""Times of the ops: ``pytest tests/bench --benchmark-enable``. Without that option each case runs once, as a test.

Shapes are those of the paper's model, four views of 64 latent numbers.
"""

from __future__ import annotations

import math

import pytest
import torch
from helpers.networks import DEVICES
from torch.nn import functional

from dimvida import ops
from dimvida.diffusion.step_table import TABLE_COLUMNS
from dimvida.ops import reference

VIEWS, DIM = 4, 64
BATCHES = [64, 256, 4096]
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
    table = torch.zeros((1, TABLE_COLUMNS))
    table[0, :6] = torch.tensor(ROWS[row])
    table, ids = table.to(device), torch.arange(batch, device=device)
    step, seed = (torch.zeros(1, dtype=torch.int64, device=device) for _ in range(2))
    given = x[:, 0].clone()

    def run() -> None:
        ops.masked_step_(x, x0_prev, out, known, table, step, ids, seed, clip=4.0, x_cast=low)
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


WIDTH, GROUPS = 1536, 32


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["block", "halves", "torch"])
def test_group_norm_silu(benchmark, kind, device, dtype, batch):
    """``block``: with the time row of a block; ``halves``: of a concatenation; ``torch``: what eager does."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(batch, WIDTH, generator=generator).to(device, dtype) for _ in range(2))
    width = 2 * WIDTH if kind == "halves" else WIDTH
    weight, bias = torch.ones(width, device=device), torch.zeros(width, device=device)
    rows = torch.randn(3, 1, WIDTH, generator=generator).to(device)
    mask = torch.arange(batch, device=device) % 3
    out = torch.empty(batch, width, device=device, dtype=dtype)

    def run() -> None:
        if kind == "block":
            ops.group_norm_silu_(out, left, weight, bias, GROUPS, time_bias=rows, table_row=mask)
        elif kind == "halves":
            ops.group_norm_silu_(out, left, weight, bias, GROUPS, right=right)
        else:
            v = left + rows[mask, 0].to(dtype)
            out.copy_(functional.silu(functional.group_norm(v, GROUPS, weight.to(dtype), bias.to(dtype))))
        synchronise(device)

    benchmark(run)
    assert out.isfinite().all()


@pytest.mark.parametrize("images", [64, 1024])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["planes", "channels last"])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["op", "reference"])
def test_pack_images(benchmark, kind, device, layout, images):
    pixels = torch.rand(images, 3, 64, 64).to(device).contiguous(memory_format=layout)
    packed = []

    def run() -> None:
        packed[:] = [ops.pack_images(pixels) if kind == "op" else reference.pack_images(pixels)]
        synchronise(device)

    benchmark(run)
    assert torch.equal(packed[0], (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1))
