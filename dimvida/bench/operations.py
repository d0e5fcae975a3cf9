"""What each operation of the fused step achieves: its time against the arithmetic and the bytes its shapes imply."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.autograd import DeviceType

from dimvida.bench.profile import recorded

FLOAT32 = 4  # bytes
Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Work:
    """What one call cannot do without.

    Attributes:
        flops: Floating-point operations of a matrix product; 0 where bytes are what counts.
        bytes: Of memory, each tensor that is read or written once.
    """

    flops: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Achieved:
    """All calls of one operation with the same shapes.

    Attributes:
        name: As torch has it.
        shapes: Of its tensor arguments, in order; empty for what is no tensor.
        calls_per_step: How often.
        us_per_call: Time of its own, on a GPU that of its kernels.
        work: What a call does; None for an operation of which that is not known.
    """

    name: str
    shapes: Shapes
    calls_per_step: float
    us_per_call: float
    work: Work | None

    @property
    def tflops(self) -> float | None:
        """TFLOP/s; None where it is no matrix product."""
        return self.work.flops / self.us_per_call / 1e6 if self.work and self.work.flops else None

    @property
    def gb_per_s(self) -> float | None:
        """GB/s to and from memory."""
        return self.work.bytes / self.us_per_call / 1e3 if self.work else None

    @property
    def shapes_text(self) -> str:
        """The shapes that tell calls of an operation apart."""
        if self.name.startswith("aten::"):
            factors = self.shapes[:2] if self.name == "aten::mm" else self.shapes[1:3]
        else:
            factors = self.shapes[:1]
        return " ".join("x".join(map(str, shape)) for shape in factors if shape)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "us_per_step": self.us_per_call * self.calls_per_step} | {
            "tflops": self.tflops,
            "gb_per_s": self.gb_per_s,
        }


def measure_operations(
    work: Callable[[], Any], device: torch.device, evaluations: int, dtype: torch.dtype
) -> tuple[Achieved, ...]:
    """Profile one run of a trajectory whose kernels are launched one by one, the costliest operation first.

    Args:
        work: The trajectory; a CUDA graph would hide which operation a kernel belongs to.
        device: Where it runs.
        evaluations: Its network evaluations. What is called less often than that is no part of a step.
        dtype: What the network multiplies in.
    """
    with recorded(device, shapes=True) as profiler:
        work()
    found = []
    for event in profiler.key_averages(group_by_input_shape=True):
        own = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        if event.device_type != DeviceType.CPU or own <= 0 or event.count < evaluations:
            continue
        shapes = tuple(tuple(shape) for shape in event.input_shapes)
        found.append(
            Achieved(event.key, shapes, event.count / evaluations, own / event.count, work_of(event.key, shapes, dtype))
        )
    return tuple(sorted(found, key=lambda one: -one.us_per_call * one.calls_per_step))


def work_of(name: str, shapes: Sequence[Sequence[int]], dtype: torch.dtype) -> Work | None:
    """What a call with these shapes does; activations and weights of products are in ``dtype``."""
    size = dtype.itemsize
    if name in ("aten::mm", "aten::addmm", "aten::addmm_"):
        added, (left, right) = ((), shapes[:2]) if name == "aten::mm" else (shapes[0], shapes[1:3])
        (rows, inner), columns = left, right[1]
        numbers = rows * inner + inner * columns + rows * columns + (math.prod(added) if added else 0)
        return Work(2 * rows * inner * columns, size * numbers)
    if name == "dimvida::group_norm_silu_":
        return _norm_work(shapes, size)
    if name == "dimvida::masked_step_":
        x, _, out, known = (math.prod(shape) for shape in shapes[:4])
        low = math.prod(shapes[10]) if shapes[10] else 0
        # x is read and written, x0_prev written; it is read by solvers of second order only.
        return Work(0, FLOAT32 * 3 * x + size * (out + low) + known)
    return None


def _norm_work(shapes: Sequence[Sequence[int]], size: int) -> Work:
    """out, left, weight, bias, groups, eps, right, rows, mask, step, residual, sum: see ``dimvida.ops.schemas``."""
    activations = sum(math.prod(shapes[place]) for place in (0, 1, 6, 10, 11) if shapes[place])
    parameters = math.prod(shapes[2]) + math.prod(shapes[3])
    if rows := shapes[7]:
        parameters += rows[0] * rows[2]  # one row of each mask, whatever the number of steps
    return Work(0, size * activations + FLOAT32 * parameters)
