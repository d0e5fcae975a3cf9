"""Arguments of ops, and the CUDA kernels compiled for the host: how a test launches one.

``pytest.importorskip("kernels_on_host")`` skips what needs those in the usual build of the native module;
scripts/sanitize.py makes the one that has them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dimvida.ops import native, registration

FLOATING = [torch.float32, torch.bfloat16, torch.float16]

# Blocks and threads of a launch: the whole work at once, several turns of the grid, and threads left over.
SHAPES = [(1, 32), (2, 64), (3, 96), (5, 256)]


def params_of(name: str, *arguments):
    """The parameters of an op's kernel: its arguments in order, then its result if it has one."""
    op = registration.OPS[name]
    return op.fill(op.check(*arguments[: len(op.signature.parameters)]), arguments)


def finish(status: int) -> None:
    assert status == 0, native._native.cuda_error_string(status)


def same(a, b) -> bool:
    """Equal bit for bit, NaNs and absent tensors included."""
    if a is None or b is None:
        return a is b
    size = {4: torch.int32, 2: torch.int16}[a.element_size()]
    return torch.equal(a.view(size), b.view(size))


def unaligned(tensor):
    """The same values one element past an aligned address; also the end of their memory."""
    if tensor is None:
        return None
    room = tensor.new_empty(tensor.numel() + 1)
    room[1:] = tensor.flatten()
    return room[1:].view(tensor.shape)


def balanced(*shape: int, group: int):
    """Small whole numbers whose sum over each group is a multiple of its size.

    Means, deviations and sums of squares are then exact, so the order of additions cannot be seen.
    """
    values = torch.randint(-4, 5, (*shape[:-1], shape[-1] // group, group)).float()
    surplus = values.sum(-1, keepdim=True) % group
    return (values - (torch.arange(group) < surplus).float()).reshape(shape)


def padded(tensor, columns: int):
    """The same values in rows with `columns` more between them; the last row ends the memory."""
    rows, width = tensor.shape
    room = tensor.new_full((rows * (width + columns),), math.nan)
    placed = room.as_strided(
        tensor.shape, (width + columns, 1), room.numel() - ((rows - 1) * (width + columns) + width)
    )
    return placed.copy_(tensor) if rows else tensor


@dataclass(frozen=True)
class NormCase:
    """The arguments of ``group_norm_silu_``, in the order of its schema."""

    out: Tensor
    left: Tensor
    weight: Tensor
    bias: Tensor
    groups: int
    eps: float = 1e-5
    right: Tensor | None = None
    time_bias: Tensor | None = None
    table_row: Tensor | None = None
    step: Tensor | None = None

    def args(self) -> tuple[object, ...]:
        return tuple(vars(self).values())

    def to(self, device: str) -> NormCase:
        """The same values in memory of their own, each row as far from the next as here."""
        moved = {}
        for name, tensor in vars(self).items():
            if isinstance(tensor, Tensor):
                other = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
                moved[name] = other.copy_(tensor)
        return replace(self, **moved)


def apart(rows: int, columns: int, dtype: torch.dtype, generator: torch.Generator, gap: int) -> Tensor:
    """Random [rows, columns] with ``gap`` unused elements after each row."""
    return torch.randn(rows, columns + gap, generator=generator).to(dtype)[:, :columns]


def random_norm(
    batch: int = 5,
    left: int = 24,
    right: int = 24,
    groups: int = 4,
    *,
    dtype: torch.dtype = torch.float32,
    out_dtype: torch.dtype = torch.float32,
    masks: int = 3,
    steps: int = 2,
    gap: int = 0,
    step_dtype: torch.dtype = torch.int64,
    seed: int = 0,
) -> NormCase:
    """Random tensors of all kinds; no time bias where ``masks`` is 0."""
    g = torch.Generator().manual_seed(seed)
    width = left + right
    return NormCase(
        out=torch.zeros(batch, width + gap, dtype=out_dtype)[:, :width],
        left=apart(batch, left, dtype, g, gap),
        weight=torch.randn(width, generator=g),
        bias=torch.randn(width, generator=g),
        groups=groups,
        right=apart(batch, right, dtype, g, gap) if right else None,
        time_bias=torch.randn(masks, steps, width + gap, generator=g)[..., :width] if masks else None,
        table_row=torch.randint(masks, (batch,), generator=g) if masks else None,
        step=torch.randint(steps, (1,), generator=g).to(step_dtype) if masks else None,
    )
