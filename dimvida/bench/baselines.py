"""The sampling loop as the public MLD implementation has it, and what PyTorch can make of it.

In every step: the time layers on every row's own multi-time vector, ``torch.cat`` of the skip connections,
``torch.randn``, and the solver's arithmetic as separate operations. The eager arms run it as it is; the others
compile it, or replay it as a CUDA graph.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

from dimvida.bench.case import Case
from dimvida.bench.timing import captured
from dimvida.diffusion.step_table import StepRow, prediction_factors

Trajectory = Callable[[], Tensor]
Step = Callable[[Tensor, Tensor, StepRow], tuple[Tensor, Tensor]]
DeviceStep = Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor]]


def eager(case: Case, dtype: torch.dtype) -> Trajectory:
    """Every operation by itself, coefficients as Python numbers."""
    step, rows = plain_step(case, dtype), step_rows(case)

    def trajectory() -> Tensor:
        x, x0 = start(case)
        for row in rows:
            x, x0 = step(x, x0, row)
        return x

    return trajectory


def eager_graph(case: Case, dtype: torch.dtype) -> Trajectory:
    """One step captured as a CUDA graph and replayed."""
    return replayed(case, device_step(plain_step(case, dtype)))


def compiled(case: Case, dtype: torch.dtype) -> Trajectory:
    """One step, its noise included, through ``torch.compile``; on a GPU replayed as a CUDA graph besides."""
    step = torch.compile(device_step(plain_step(case, dtype)), mode=case.compile_mode, dynamic=False, fullgraph=True)
    if case.device.type == "cuda":
        return replayed(case, step)
    table = device_table(case)

    def trajectory() -> Tensor:
        x, x0 = start(case)
        for row, coefficients in zip(case.table.rows, table, strict=True):
            x, x0 = step(x, x0, coefficients, row.evaluate)
        return x

    return trajectory


def start(case: Case) -> tuple[Tensor, Tensor]:
    """The state at t = 1 and an empty history, each [B, V, D]."""
    x = torch.where(case.known[..., None], case.latents, torch.randn_like(case.latents))
    return x, torch.zeros_like(x)


def plain_step(case: Case, dtype: torch.dtype) -> Step:
    """One row of the table on (x, x0 of the row before); returns the new pair."""
    # Weights of its own, so that every arm's memory is counted alike.
    network = copy.deepcopy(case.network).to(dtype)
    known, missing = case.known[..., None], (~case.known).float()
    clip, clips = case.x0_clip, math.isfinite(case.x0_clip)
    has_history, has_noise = any(row.c for row in case.table.rows), any(row.d for row in case.table.rows)

    def step(x: Tensor, x0_prev: Tensor, row: StepRow) -> tuple[Tensor, Tensor]:
        new = row.a * x
        if row.evaluate:
            out = network(x.to(dtype), (missing * row.t).to(dtype)).float()
            x0 = (x + row.sigma * out) / row.m
            if clips:
                x0 = x0.clamp(-clip, clip)
            new = new + row.b * x0
            if has_history:
                new = new + row.c * x0_prev
        else:
            x0 = x0_prev
        if has_noise:
            new = new + row.d * torch.randn_like(x)
        return torch.where(known, x, new), x0

    return step


def device_step(step: Step) -> DeviceStep:
    """The same step with its coefficients in a tensor [7]: compiled or captured once, it serves every row."""

    def on_device(x: Tensor, x0_prev: Tensor, coefficients: Tensor, evaluate: bool) -> tuple[Tensor, Tensor]:
        return step(x, x0_prev, StepRow(*coefficients.unbind(), evaluate))

    return on_device


def step_rows(case: Case) -> list[StepRow]:
    """The table's rows; for a network that does not predict the noise, sigma and m are what stands for them."""
    prediction = case.prediction
    factors = [prediction_factors(prediction, row.sigma, row.m) for row in case.table.rows]
    return [row._replace(sigma=s, m=n) for row, (s, n) in zip(case.table.rows, factors, strict=True)]


def device_table(case: Case) -> Tensor:
    """float32 [rows, 7]: t, sigma, m, a, b, c, d of ``step_rows``."""
    return torch.tensor([row[:7] for row in step_rows(case)], dtype=torch.float64).float().to(case.device)


def replayed(case: Case, step: DeviceStep) -> Trajectory:
    """Capture one step for each kind of row and replay it from row to row; the row's number is on the device."""
    table = device_table(case)
    x, x0 = start(case)
    index = torch.zeros(1, dtype=torch.int64, device=case.device)

    def advance(evaluate: bool) -> None:
        coefficients = table.index_select(0, index)[0]
        for buffer, value in zip((x, x0), step(x, x0, coefficients, evaluate), strict=True):
            buffer.copy_(value)
        index.add_(1).remainder_(len(table))

    kinds = {row.evaluate for row in case.table.rows}
    graphs = {evaluate: captured(lambda evaluate=evaluate: advance(evaluate)) for evaluate in kinds}

    def trajectory() -> Tensor:
        for buffer, value in zip((x, x0), start(case), strict=True):
            buffer.copy_(value)
        index.zero_()
        for row in case.table.rows:
            graphs[row.evaluate].replay()
        return x.clone()

    return trajectory
