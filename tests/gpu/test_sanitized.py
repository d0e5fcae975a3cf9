"""Every kernel once or twice at sizes with odd tails: short enough to run under compute-sanitizer.

Inputs are copied from the host and results are compared there. The only kernels that run are those under test, so a
report can be about nothing else, and memory that nothing wrote counts as uninitialised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from dimvida.ops import reference

from .conftest import normal

OPS = torch.ops.dimvida
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@dataclass
class Output:
    """An argument that the kernel writes without reading: left uninitialised on the GPU."""

    like: Tensor


def on_gpu(argument: Any) -> Any:
    if isinstance(argument, Output):
        like = argument.like
        return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device="cuda")
    return argument.to("cuda") if isinstance(argument, Tensor) else argument


def run(op: Any, host_op: Any, arguments: list[Any]) -> list[tuple[Tensor, Tensor]]:
    """The tensors after the op on the GPU (brought to the host), and after the reference on the host."""
    device_side = [on_gpu(argument) for argument in arguments]
    host_side = [argument.like if isinstance(argument, Output) else argument for argument in arguments]
    host_side = [argument.clone() if isinstance(argument, Tensor) else argument for argument in host_side]
    op(*device_side)
    torch.cuda.synchronize()
    host_op(*host_side)
    pairs = zip(device_side, host_side, strict=True)
    return [(ours.cpu(), theirs) for ours, theirs in pairs if isinstance(ours, Tensor)]


def expect_close(pairs: list[tuple[Tensor, Tensor]]) -> None:
    for ours, theirs in pairs:
        tolerance = {torch.bfloat16: 2e-2, torch.float16: 2e-3}.get(theirs.dtype, 1e-5)
        torch.testing.assert_close(ours.double(), theirs.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(5, 3, 7), (67, 4, 64), (1, 24, 33)], ids=str)
def test_masked_step(shape: tuple[int, int, int], dtype: torch.dtype):
    batch, views, _ = shape
    table = torch.rand(3, 8)
    table[1, :6] = torch.tensor([0.8, 0.6, 0.5, 0.4, -0.1, 0.3])
    arguments = [
        normal(*shape),
        normal(*shape, seed=1),
        normal(*shape, seed=2).to(dtype),
        torch.arange(batch * views).reshape(batch, views) % 3 == 0,
        table,
        torch.tensor([1]),
        torch.arange(batch) * 7 - 3,
        torch.tensor([11]),
        None,
        2.0,
        Output(torch.zeros(shape, dtype=dtype)),
    ]
    expect_close(run(OPS.masked_step_, reference.masked_step_, arguments))


@pytest.mark.parametrize("shape", [(3, 5), (129, 3, 7), (2, 4097)], ids=str)
def test_philox_normal(shape: tuple[int, ...]):
    arguments = [Output(torch.zeros(shape)), torch.arange(shape[0]), torch.tensor([5]), 3]
    expect_close(run(OPS.philox_normal_, reference.philox_normal_, arguments))


def test_philox_words():
    counters, key = torch.arange(4 * 301).reshape(301, 4), torch.tensor([1, 2])
    assert torch.equal(OPS.philox4x32(counters.to("cuda"), key.to("cuda")).cpu(), reference.philox4x32(counters, key))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("left", "right", "groups"),
    [
        (96, 96, 8),  # two lanes to a group, three quads each, like the widths below
        (1536, 0, 32),
        (1536, 1536, 32),
        (128, 0, 8),  # one lane
        (80, 80, 8),  # one quad too few for all lanes
        (1024, 0, 2),  # a warp
        (2080, 0, 2),  # more than one holds, and what lies aligned for no vector
        (33, 0, 3),
        (7, 14, 7),
    ],
    ids=str,
)
def test_group_norm_silu(left: int, right: int, groups: int, dtype: torch.dtype):
    batch, width = 19, left + right
    arguments = [
        Output(torch.zeros(batch, width, dtype=dtype)),
        normal(batch, left).to(dtype),
        normal(width, seed=1),
        normal(width, seed=2),
        groups,
        1e-5,
        normal(batch, right, seed=3).to(dtype) if right else None,
        normal(3, 2, width, seed=4),
        torch.arange(batch) % 3,
        torch.tensor([1]),
    ]
    expect_close(run(OPS.group_norm_silu_, reference.group_norm_silu_, arguments))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["planes", "in order", "neither"])
@pytest.mark.parametrize("size", [(5, 17), (6, 10)], ids=str)
def test_pack_images(size: tuple[int, int], layout: str, dtype: torch.dtype):
    images = (normal(3, 3, *size) * 0.7 + 0.5).to(dtype)
    if layout == "in order":
        images = images.contiguous(memory_format=torch.channels_last)
    on_gpu = images.to("cuda")
    if layout == "neither":
        images, on_gpu = images[:, :, :, 1:], on_gpu[:, :, :, 1:]
    assert torch.equal(OPS.pack_images(on_gpu).cpu(), reference.pack_images(images))
