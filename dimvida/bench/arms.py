"""The arms: every way to run the same trajectory that is compared.

The eager arms are the sampling loop as the public MLD implementation has it: in every step the time layers on every
row's own multi-time vector, ``torch.cat`` of the skip connections, ``torch.randn``, and the solver's arithmetic as
separate operations. Others compile that, or replay it as a CUDA graph.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from dimvida import ops
from dimvida.bench.case import Case
from dimvida.bench.timing import captured
from dimvida.diffusion.step_table import StepRow, prediction_factors
from dimvida.errors import InputError, require_choice
from dimvida.sampling.backends import default_dtype

BASELINE = "eager-fp32"
EVERYWHERE = ("cpu", "cuda")
FLOORS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
DTYPE_NAMES = {"float32": "fp32", "tf32": "tf32", "bfloat16": "bf16"}
"""Names of ``--dtype``, and the kind of product that each stands for."""


Trajectory = Callable[[], Tensor]
Step = Callable[[Tensor, Tensor, StepRow], tuple[Tensor, Tensor]]
DeviceStep = Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor]]


def fused(case: Case, dtype: torch.dtype) -> Trajectory:
    """What users call, validation and tables included."""
    network = copy.deepcopy(case.network)  # an engine lives as long as its network
    return lambda: case.sample(network, "fused", dtype=dtype)


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
    x = torch.where(case.known[..., None].to(case.device), case.latents, torch.randn_like(case.latents))
    return x, torch.zeros_like(x)


def plain_step(case: Case, dtype: torch.dtype) -> Step:
    """One row of the table on (x, x0 of the row before); returns the new pair."""
    # Weights of its own, so that every arm's memory is counted alike.
    network = copy.deepcopy(case.network).to(dtype)
    known = case.known.to(case.device)
    known, missing = known[..., None], (~known).float()
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


@dataclass(frozen=True, slots=True)
class SamplingArm:
    """One way to run a trajectory.

    Attributes:
        name: What ``--arms`` calls it, such as ``fused-fp32``.
        floor: The kind of matrix product that it computes in, one of ``FLOORS``.
        description: What it does, in one line of ``--help`` and of the result file.
        build: Makes the trajectory of a case; its first runs may compile.
        devices: Kinds of device that it is for.
    """

    name: str
    floor: str
    description: str
    build: Callable[[Case, torch.dtype], Trajectory]
    devices: tuple[str, ...] = EVERYWHERE

    @property
    def dtype(self) -> torch.dtype:
        """What its products are given in."""
        return FLOORS[self.floor]

    @property
    def is_fused(self) -> bool:
        return self.build is fused


_ARMS = (
    SamplingArm(BASELINE, "fp32", "the public implementation's loop, no TF32", eager),
    SamplingArm("eager-tf32", "tf32", "the same with TF32 products", eager, ("cuda",)),
    SamplingArm("eager-bf16", "bf16", "the same with bfloat16 weights and activations", eager),
    SamplingArm("eager-bf16+graph", "bf16", "the same, each step a CUDA graph", eager_graph, ("cuda",)),
    SamplingArm("compile-fp32", "fp32", "the loop's step through torch.compile", compiled, ("cpu",)),
    SamplingArm("compile-bf16", "bf16", "the same in bfloat16; on a GPU a CUDA graph", compiled),
    SamplingArm("fused-fp32", "fp32", "dimvida's fused backend", fused),
    SamplingArm("fused-bf16", "bf16", "dimvida's fused backend in bfloat16", fused),
)
ARMS: dict[str, SamplingArm] = {arm.name: arm for arm in _ARMS}


def choose_arms(
    names: Collection[str] | None, dtypes: Collection[str] | None, device: torch.device
) -> tuple[list[SamplingArm], dict[str, str]]:
    """The arms to run, in the order of ``ARMS``, and by name why each of the others does not.

    Args:
        names: The arms asked for; None for all.
        dtypes: Or the types whose arms are asked for, beside the baseline; None for all.
        device: The device that they would run on.

    Raises:
        InputError: A name is unknown, or nothing of what is asked for runs here.
    """
    for option, given, known in (("--arms", names, ARMS), ("--dtype", dtypes, DTYPE_NAMES)):
        for name in given or ():
            require_choice(option, name, known)
    floors = {DTYPE_NAMES[name] for name in dtypes or ()}
    chosen, left_out = [], {}
    for arm in ARMS.values():
        asked = arm.name in (names or ()) or arm.floor in floors
        everything = names is None and dtypes is None
        if not (asked or everything or (dtypes and arm.name == BASELINE)):
            left_out[arm.name] = "not asked for"
        elif reason := why_not(arm, device, asked=asked):
            left_out[arm.name] = reason
        else:
            chosen.append(arm)
    if not chosen:
        raise InputError("none of the arms asked for runs here: " + "; ".join(map(": ".join, left_out.items())))
    return chosen, left_out


def why_not(arm: SamplingArm, device: torch.device, *, asked: bool) -> str | None:
    """Why an arm does not run on this machine; None if it can.

    Args:
        arm: The arm that is asked about.
        device: The device that it would run on.
        asked: Whether it was named: what is possible but pointless runs only then.
    """
    if device.type not in arm.devices:
        return f"needs {' or '.join(arm.devices)}, and this is {device.type}"
    if arm.is_fused and not ops.native_available(device.type):
        return f"there are no native kernels for {device.type}: see dimvida doctor"
    if arm.dtype == torch.bfloat16 and not asked and default_dtype(device) != torch.bfloat16:
        return "this processor only emulates bfloat16 products; name the arm to run it"
    return None


@contextmanager
def product_precision(floor: str) -> Iterator[None]:
    """Let float32 products be rounded to TF32 where the floor is ``tf32``, and nowhere else, for the time being."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if floor == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
