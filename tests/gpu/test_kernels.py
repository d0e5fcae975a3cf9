"""Each op by itself where only a GPU has it: on another device, on the caller's stream, in a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dimvida.ops import reference

from .conftest import normal

OPS = torch.ops.dimvida
BATCH, VIEWS, DIM, WIDTH = 37, 4, 24, 96
LATE = 200_000_000  # clock cycles, about a tenth of a second: what does not wait in its stream reads zeros


def step_arguments(seed: int) -> list[Any]:
    table = torch.rand(3, 8, generator=torch.Generator().manual_seed(seed))
    table[:, 1] += 0.5  # m, which is divided by
    state, low = (BATCH, VIEWS, DIM), torch.zeros(BATCH, VIEWS, DIM, dtype=torch.bfloat16)
    known = torch.arange(BATCH * VIEWS).reshape(BATCH, VIEWS) % 3 == seed % 3
    draws = [torch.tensor([seed % 3]), torch.arange(BATCH) * 7 - seed, torch.tensor([11 + seed])]
    x, x0, out = (normal(*state, seed=3 * seed + number) for number in range(3))
    return [x, x0, out.bfloat16(), known, table, *draws, None, 2.0, low]


def norm_arguments(seed: int) -> list[Any]:
    left, right = (normal(BATCH, WIDTH, seed=2 * seed + number).bfloat16() for number in range(2))
    weight, bias, rows = (normal(2 * WIDTH, seed=seed), normal(2 * WIDTH, seed=9), normal(3, 2, 2 * WIDTH, seed=5))
    out = torch.zeros(BATCH, 2 * WIDTH, dtype=torch.bfloat16)
    return [
        out,
        left,
        weight,
        bias,
        8,
        1e-5,
        right,
        rows,
        torch.arange(BATCH) % 3,
        torch.tensor([seed % 2]),
    ]


ARGUMENTS: dict[str, Callable[[int], list[Any]]] = {
    "masked_step_": step_arguments,
    "group_norm_silu_": norm_arguments,
    "philox_normal_": lambda seed: [torch.zeros(BATCH, 33), torch.arange(BATCH) + seed, torch.tensor([seed]), 3],
    "philox4x32": lambda seed: [torch.arange(4 * 301).reshape(301, 4) + seed, torch.tensor([seed, 2])],
    "residual_act_": lambda seed: [
        torch.zeros(BATCH, 4, 6, 16),
        normal(BATCH, 3, 4, 64, seed=seed),
        normal(64, seed=9),
        normal(BATCH, 2, 3, 16, seed=5),
        torch.zeros(BATCH, 4, 6, 16),
        0.2,
    ],
    "residual_norm_silu_": lambda seed: [
        torch.zeros(BATCH, 4, 6, 16),
        normal(BATCH, 2, 3, 64, seed=seed),
        normal(64, seed=9),
        normal(16, seed=7),
        normal(16, seed=8),
        2,
        1e-5,
        normal(BATCH, 4, 6, 16, seed=5),
        torch.zeros(BATCH, 4, 6, 16),
    ],
    "images_to_patches_": lambda seed: [
        torch.zeros(2, 2, 3, 12),
        (normal(2, 3, 4, 6, seed=seed) * 40 + 120).clamp(0, 255).to(torch.uint8),
    ],
    "patches_to_images_": lambda seed: [
        torch.zeros(2, 4, 6, 3, dtype=torch.uint8),
        torch.zeros(2, dtype=torch.bool),
        normal(2, 2, 3, 12, seed=seed) * 0.3 + 0.5,
        normal(12, seed=5),
    ],
    "pack_images": lambda seed: [normal(3, 3, 16, 17, seed=seed) * 0.3 + 0.5],
}
TOLERANCE = {torch.bfloat16: 2e-2, torch.float32: 1e-5}


@pytest.fixture(params=ARGUMENTS)
def name(request: pytest.FixtureRequest) -> str:
    """Each op."""
    return request.param


def put(arguments: list[Any], device: torch.device) -> list[Any]:
    return [value.to(device) if isinstance(value, Tensor) else value for value in arguments]


def call(op: Callable[..., Any], arguments: list[Any]) -> list[Tensor]:
    """All tensors after a call: arguments, which it may have written, and result."""
    result = op(*arguments)
    return [value for value in (*arguments, result) if isinstance(value, Tensor)]


def expected(name: str, seed: int) -> list[Tensor]:
    """What the reference makes of the same arguments on the host."""
    return call(getattr(reference, name), ARGUMENTS[name](seed))


def expect_close(got: list[Tensor], wanted: list[Tensor]) -> None:
    assert len(got) == len(wanted)
    for ours, theirs in zip(got, wanted, strict=True):
        if not theirs.is_floating_point():
            assert torch.equal(ours.cpu(), theirs)
            continue
        tolerance = TOLERANCE[theirs.dtype]
        torch.testing.assert_close(ours.cpu().double(), theirs.double(), rtol=tolerance, atol=tolerance)


def test_on_a_device_that_is_not_the_current_one(device: torch.device, name: str):
    before = torch.cuda.current_device()
    got = call(getattr(OPS, name), put(ARGUMENTS[name](1), device))
    assert torch.cuda.current_device() == before
    assert {tensor.device for tensor in got} == {device}
    expect_close(got, expected(name, 1))


def test_on_the_callers_stream(device: torch.device, name: str):
    ready = put(ARGUMENTS[name](2), device)
    late = [torch.zeros_like(value) if isinstance(value, Tensor) else value for value in ready]
    with torch.cuda.device(device):
        call(getattr(OPS, name), put(ARGUMENTS[name](2), device))  # what is loaded at the first call is loaded now
        torch.cuda.synchronize()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(LATE)
            for ours, theirs in zip(late, ready, strict=True):
                if isinstance(ours, Tensor):
                    ours.copy_(theirs)
            got = [tensor.clone() for tensor in call(getattr(OPS, name), late)]
        stream.synchronize()
    expect_close(got, expected(name, 2))


def test_a_graph_replays_what_a_launch_computes(device: torch.device, name: str):
    op, held = getattr(OPS, name), put(ARGUMENTS[name](0), device)
    with torch.cuda.device(device):
        call(op, put(ARGUMENTS[name](0), device))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            replayed = call(op, held)
        for seed in (3, 4):
            fresh = put(ARGUMENTS[name](seed), device)
            for ours, theirs in zip(held, fresh, strict=True):
                if isinstance(ours, Tensor):
                    ours.copy_(theirs)
            graph.replay()
            launched = call(op, fresh)
            for ours, theirs in zip(replayed, launched, strict=True):
                assert torch.equal(ours, theirs)
            expect_close(replayed, expected(name, seed))


def exact_sums(*shape: int, group: int, seed: int) -> Tensor:
    """Small whole numbers whose sum over each group is a multiple of its size.

    Means, deviations and sums of squares are then exact, so the order of additions cannot be seen.
    """
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-4, 5, (*shape[:-1], shape[-1] // group, group), generator=generator).float()
    surplus = values.sum(-1, keepdim=True) % group
    return (values - (torch.arange(group) < surplus).float()).reshape(shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("width", "groups"), [(1536, 32), (3072, 32), (384, 16), (128, 8), (80, 4), (2080, 2), (33, 3)]
)
def test_norms_have_the_bits_of_the_cpu(device: torch.device, width: int, groups: int, dtype: torch.dtype):
    """Their quotients, roots and exponentials are rounded alike, however the GPU makes them."""
    left = exact_sums(BATCH, width, group=width // groups, seed=width).to(dtype)
    # Far apart and near zero, so that SiLU is met all over its range.
    weight, bias = normal(width, seed=1) * 20, normal(width, seed=2) * torch.tensor([1e-6, 30.0]).repeat(width)[:width]
    arguments = [torch.zeros_like(left), left, weight, bias, groups, 1e-5, None, None, None, None]
    theirs, ours = put(arguments, torch.device("cpu")), put(arguments, device)
    for case in (theirs, ours):
        OPS.group_norm_silu_(*case)
    assert torch.equal(ours[0].cpu(), theirs[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_steps_have_the_bits_of_the_cpu(device: torch.device, dtype: torch.dtype):
    for seed in range(3):
        arguments = step_arguments(seed)
        arguments[2], arguments[-1] = arguments[2].to(dtype), arguments[-1].to(dtype)
        # What the CPU writes in place must not be what the GPU is given.
        ours = put(arguments, device)
        theirs = [value.clone() if isinstance(value, Tensor) else value for value in arguments]
        for case in (theirs, ours):
            OPS.masked_step_(*case)
        for place in (0, 1, -1):
            assert torch.equal(ours[place].cpu(), theirs[place])
