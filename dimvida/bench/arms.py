"""The arms: every way to run the same trajectory that is compared."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from dimvida import ops
from dimvida.bench import baselines
from dimvida.bench.baselines import Trajectory
from dimvida.bench.subject import Case
from dimvida.sampling import sample
from dimvida.sampling.backends import default_dtype
from dimvida.sampling.engine import engine_of

BASELINE = "eager-fp32"
EVERYWHERE = ("cpu", "cuda")


def fused(case: Case, dtype: torch.dtype, *, graphs: bool = True) -> Trajectory:
    """What users call, validation and tables included; on a GPU without ``graphs`` every kernel by itself."""
    subject = case.subject
    network = copy.deepcopy(subject.network)  # an engine lives as long as its network
    engine_of(network, dtype, case.device).graphs = graphs

    def trajectory() -> torch.Tensor:
        return sample(
            network,
            case.latents,
            case.known,
            solver=case.solver,
            steps=case.table.evaluations,
            seed=case.seed,
            backend="fused",
            x0_clip=subject.x0_clip,
            schedule=subject.schedule,
            prediction=subject.prediction,
            dtype=dtype,
        )

    return trajectory


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to run a trajectory.

    Attributes:
        name: As on the command line.
        dtype: What the matrix products compute in.
        description: One line.
        build: Makes the trajectory of a case; its first runs may compile.
        devices: Kinds of device that it is for.
        tf32: Whether float32 products may be rounded to TF32.
    """

    name: str
    dtype: torch.dtype
    description: str
    build: Callable[[Case, torch.dtype], Trajectory]
    devices: tuple[str, ...] = EVERYWHERE
    tf32: bool = False

    @property
    def floor(self) -> str:
        """Name of the kind of product that its floor is made of."""
        return "tf32" if self.tf32 else DTYPE_NAMES[self.dtype]

    @property
    def is_fused(self) -> bool:
        return self.build is fused


DTYPE_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}
FLOORS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}

_ARMS = (
    Arm(BASELINE, torch.float32, "the public implementation's loop, no TF32", baselines.eager),
    Arm("eager-tf32", torch.float32, "the same with TF32 products", baselines.eager, ("cuda",), tf32=True),
    Arm("eager-bf16", torch.bfloat16, "the same with bfloat16 weights and activations", baselines.eager),
    Arm("eager-bf16+graph", torch.bfloat16, "the same, each step a CUDA graph", baselines.eager_graph, ("cuda",)),
    Arm("compile-fp32", torch.float32, "the loop's step through torch.compile", baselines.compiled, ("cpu",)),
    Arm("compile-bf16", torch.bfloat16, "the same in bfloat16; on a GPU a CUDA graph", baselines.compiled),
    Arm("fused-fp32", torch.float32, "dimvida's fused backend", fused),
    Arm("fused-bf16", torch.bfloat16, "dimvida's fused backend in bfloat16", fused),
)
ARMS: dict[str, Arm] = {arm.name: arm for arm in _ARMS}


def why_not(arm: Arm, device: torch.device, *, asked: bool) -> str | None:
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
def product_precision(tf32: bool) -> Iterator[None]:
    """Whether float32 matrix products may be rounded to TF32, for the time being."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
