"""The floor of a step: plain matrix products of the network's own shapes and weights, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dimvida.bench.baselines import capture
from dimvida.bench.subject import Case, matrix_layers


def matrix_products(case: Case, dtype: torch.dtype) -> Callable[[], None]:
    """The products of a whole trajectory, one [B, in] x [in, out] for each layer and network evaluation.

    The layers have their own weights, as many bytes as a step really reads. On a GPU the products of a step are
    a CUDA graph: launches are no part of the floor.
    """
    generator = torch.Generator().manual_seed(0)
    batch = len(case.latents)
    operands = []
    for layer in matrix_layers(case.subject.network):
        weight = layer.weight.detach().to(dtype)  # [out, in]
        x = torch.randn(batch, weight.shape[1], generator=generator).to(case.device, dtype)
        operands.append((x, weight.t(), torch.empty(batch, weight.shape[0], device=case.device, dtype=dtype)))

    def step() -> None:
        for x, weight, out in operands:
            torch.mm(x, weight, out=out)

    if case.device.type == "cuda":
        step = capture(step).replay
    evaluations = case.table.evaluations

    def trajectory() -> None:
        for _ in range(evaluations):
            step()

    return trajectory
