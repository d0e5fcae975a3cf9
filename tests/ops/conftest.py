"""Random arguments of the ops, on every device that is present, and how results are compared."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from helpers.networks import DEVICES
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
    return torch.equal(a.cpu().view(size), b.cpu().view(size))


def unaligned(tensor):
    """The same values one element past an aligned address; also the end of their memory."""
    if tensor is None:
        return None
    room = tensor.new_empty(tensor.numel() + 1)
    room[1:] = tensor.flatten()
    return room[1:].view(tensor.shape)


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=DEVICES)
def device_of(request: pytest.FixtureRequest) -> str:
    """``device`` for tests with many examples, which want fixtures of a wider scope."""
    return request.param


class Arguments:
    """The arguments of an op as a dataclass, in the order of its schema."""

    def args(self) -> tuple[Any, ...]:
        return tuple(vars(self).values())


@dataclass(frozen=True)
class StepArguments(Arguments):
    """The arguments of ``masked_step_``, in the order of its schema."""

    x: Tensor  # [B, V, D]
    x0_prev: Tensor  # [B, V, D]
    model_output: Tensor  # [B, V, D]
    known: Tensor  # [B, V]
    table: Tensor  # [rows, 8]
    step: Tensor  # [1]
    sample_ids: Tensor  # [B]
    seed: Tensor  # [1]
    noise: Tensor | None  # [B, V, D]
    clip: float
    x_cast: Tensor | None  # [B, V, D]

    def clone(self, device: str | None = None) -> StepArguments:
        """The same values in memory of their own."""
        tensors = {n: t.to(device or t.device, copy=True) for n, t in vars(self).items() if isinstance(t, Tensor)}
        return replace(self, **tensors)

    def rows(self, chosen: slice) -> StepArguments:
        """The same samples as a smaller batch."""
        batched = ("x", "x0_prev", "model_output", "known", "sample_ids", "noise", "x_cast")
        parts = {n: getattr(self, n)[chosen].clone() for n in batched if getattr(self, n) is not None}
        return replace(self.clone(), **parts)


def random_step(
    batch: int = 5,
    views: int = 4,
    dim: int = 16,
    *,
    row: tuple[float, ...] = (0.8, 0.6, 0.5, 0.4, -0.1, 0.3),
    out_dtype: torch.dtype = torch.float32,
    cast_dtype: torch.dtype | None = torch.bfloat16,
    step_dtype: torch.dtype = torch.int64,
    noise: bool = False,
    clip: float = math.inf,
    known: float = 0.4,
    seed: int = 0,
) -> StepArguments:
    """Random tensors around one row ``(sigma, m, a, b, c, d)``, which stands at a random place in the table."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, views, dim)

    def normal() -> Tensor:
        return torch.randn(shape, generator=generator)

    step = int(torch.randint(3, (1,), generator=generator))
    table = torch.rand((3, 8), generator=generator)
    table[step, :6] = torch.tensor(row)
    return StepArguments(
        x=normal(),
        x0_prev=normal(),
        model_output=normal().to(out_dtype),
        known=torch.rand((batch, views), generator=generator) < known,
        table=table,
        step=torch.tensor([step], dtype=step_dtype),
        sample_ids=torch.randint(-(2**63), 2**63 - 1, (batch,), generator=generator),
        seed=torch.randint(-(2**63), 2**63 - 1, (1,), generator=generator),
        noise=normal() if noise else None,
        clip=clip,
        x_cast=None if cast_dtype is None else normal().to(cast_dtype),
    )


@pytest.fixture(scope="session")
def make_step() -> Callable[..., StepArguments]:
    return random_step


def ulps(a: Tensor, b: Tensor) -> Tensor:
    """How many float32 numbers apart a and b are, element by element."""

    def ordered(t: Tensor) -> Tensor:
        bits = t.cpu().view(torch.int32).long()
        return torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)

    return (ordered(a) - ordered(b)).abs()


@pytest.fixture(scope="session")
def ulp_distance() -> Callable[[Tensor, Tensor], Tensor]:
    return ulps


@dataclass(frozen=True)
class NormCase(Arguments):
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

    def to(self, device: str) -> NormCase:
        """The same values in memory of their own, each row as far from the next as here."""
        moved = {}
        for name, tensor in vars(self).items():
            if isinstance(tensor, Tensor):
                other = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
                moved[name] = other.copy_(tensor)
        return replace(self, **moved)


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

    def apart(columns: int) -> Tensor:
        """Rows with ``gap`` unused elements after each."""
        return torch.randn(batch, columns + gap, generator=g).to(dtype)[:, :columns]

    return NormCase(
        out=torch.zeros(batch, width + gap, dtype=out_dtype)[:, :width],
        left=apart(left),
        weight=torch.randn(width, generator=g),
        bias=torch.randn(width, generator=g),
        groups=groups,
        right=apart(right) if right else None,
        time_bias=torch.randn(masks, steps, width + gap, generator=g)[..., :width] if masks else None,
        table_row=torch.randint(masks, (batch,), generator=g) if masks else None,
        step=torch.randint(steps, (1,), generator=g).to(step_dtype) if masks else None,
    )
