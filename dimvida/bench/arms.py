"""The arms: every way to run the same trajectory that is compared.

The eager arms are the sampling loop as the public MLD implementation has it: in every step the time layers on every
row's own multi-time vector, ``torch.cat`` of the skip connections, ``torch.randn``, and the solver's arithmetic as
separate operations (``dimvida.bench.baselines``, with what PyTorch can make of that loop).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from dimvida import ops
from dimvida.bench import baselines
from dimvida.bench.baselines import Trajectory
from dimvida.bench.case import Case
from dimvida.errors import InputError
from dimvida.sampling.backends import default_dtype

BASELINE = "eager-fp32"
EVERYWHERE = ("cpu", "cuda")
FLOORS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
DTYPES = {"float32": "fp32", "tf32": "tf32", "bfloat16": "bf16"}
"""Names of ``--dtype``, and the kind of product that each stands for."""


def fused(case: Case, dtype: torch.dtype) -> Trajectory:
    """What users call, validation and tables included."""
    network = copy.deepcopy(case.network)  # an engine lives as long as its network
    return lambda: case.sample(network, "fused", dtype=dtype)


@dataclass(frozen=True, slots=True)
class SamplingArm:
    """One way to run a trajectory.

    Attributes:
        name: As on the command line.
        floor: The kind of matrix product that it computes in, one of ``FLOORS``.
        description: One line.
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
    SamplingArm(BASELINE, "fp32", "the public implementation's loop, no TF32", baselines.eager),
    SamplingArm("eager-tf32", "tf32", "the same with TF32 products", baselines.eager, ("cuda",)),
    SamplingArm("eager-bf16", "bf16", "the same with bfloat16 weights and activations", baselines.eager),
    SamplingArm("eager-bf16+graph", "bf16", "the same, each step a CUDA graph", baselines.eager_graph, ("cuda",)),
    SamplingArm("compile-fp32", "fp32", "the loop's step through torch.compile", baselines.compiled, ("cpu",)),
    SamplingArm("compile-bf16", "bf16", "the same in bfloat16; on a GPU a CUDA graph", baselines.compiled),
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
        device: Where they would run.

    Raises:
        InputError: A name is unknown, or nothing of what is asked for runs here.
    """
    for option, kind, given, known in (("--arms", "arm", names, ARMS), ("--dtype", "type", dtypes, DTYPES)):
        for name in given or ():
            if name not in known:
                raise InputError(f"{option}: unknown {kind} {name!r}: choose from {', '.join(known)}")
    floors = {DTYPES[name] for name in dtypes or ()}
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
        arm: The arm.
        device: Where it would run.
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
