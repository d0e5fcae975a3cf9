"""Random arguments of the ops, on every device that is present."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from helpers.networks import DEVICES, Arguments
from torch import Tensor


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=DEVICES)
def device_of(request: pytest.FixtureRequest) -> str:
    """``device`` for tests with many examples, which want fixtures of a wider scope."""
    return request.param


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
