"""What an operation's shapes imply, and that the operations of a real step are found."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from dimvida.bench.arms import ARMS, fused
from dimvida.bench.operations import Achieved, Work, measure_operations, work_of
from dimvida.bench.profile import Gaps, find_gaps
from dimvida.bench.sampling import measure
from dimvida.bench.subject import flops_per_row, make_case

CPU = torch.device("cpu")
LOW, FULL = torch.bfloat16, torch.float32


@pytest.mark.parametrize(
    ("name", "shapes", "dtype", "work"),
    [
        ("aten::mm", [(5, 3), (3, 7), (5, 7)], LOW, Work(2 * 5 * 3 * 7, 2 * (15 + 21 + 35))),
        ("aten::addmm", [(7,), (5, 3), (3, 7), (), ()], FULL, Work(2 * 5 * 3 * 7, 4 * (7 + 15 + 21 + 35))),
        ("aten::addmm_", [(5, 7), (5, 3), (3, 7), (), ()], LOW, Work(2 * 5 * 3 * 7, 2 * (35 + 15 + 21 + 35))),
        (
            "dimvida::group_norm_silu_",  # out, left, weight, bias, groups, eps, right, rows, mask, step, residual, sum
            [(6, 8), (6, 4), (8,), (8,), (), (), (6, 4), (3, 20, 8), (6,), (1,), (), ()],
            LOW,
            Work(0, 2 * (48 + 24 + 24) + 4 * (8 + 8 + 3 * 8)),
        ),
        (
            "dimvida::masked_step_",  # x, x0_prev, out, known, table, step, sample_ids, seed, noise, clip, low
            [(2, 3, 4), (2, 3, 4), (2, 3, 4), (2, 3), (9, 8), (1,), (2,), (1,), (), (), (2, 3, 4)],
            LOW,
            Work(0, 4 * 3 * 24 + 2 * (24 + 24) + 6),
        ),
        ("aten::slice", [(5, 3)], LOW, None),
    ],
)
def test_what_shapes_imply(name: str, shapes, dtype: torch.dtype, work: Work | None):
    assert work_of(name, shapes, dtype) == work


def test_rates_follow_from_work_and_time():
    product = Achieved("aten::mm", ((5, 3), (3, 7)), 2.0, 50.0, Work(10**9, 10**6))
    assert product.tflops == pytest.approx(20)  # 1e9 in 50e-6 s
    assert product.gb_per_s == pytest.approx(20)
    assert product.to_dict()["us_per_step"] == 100
    assert Achieved("dimvida::masked_step_", ((5, 3),), 1.0, 50.0, Work(0, 10**6)).tflops is None
    unknown = Achieved("aten::slice", ((5, 3),), 1.0, 50.0, None)
    assert unknown.tflops is None and unknown.gb_per_s is None
    assert product.shapes_text == "5x3 3x7"


@pytest.mark.parametrize("dtype", [FULL, LOW], ids=str)
def test_the_products_of_a_step_are_all_found(subject, dtype: torch.dtype):
    case = make_case(subject, 16, solver="euler-maruyama", steps=4, device=CPU, compile_mode="default")
    found = measure_operations(fused(case, dtype), CPU, 4, dtype)
    calls = Counter()
    for operation in found:
        calls[operation.name] += operation.calls_per_step
        assert operation.us_per_call > 0
    assert calls["dimvida::masked_step_"] == 1
    assert calls["dimvida::group_norm_silu_"] == 15
    products = [operation for operation in found if operation.work and operation.work.flops]
    assert sum(operation.calls_per_step for operation in products) == 18
    flops = sum(operation.work.flops * operation.calls_per_step for operation in products)
    # Two linear maps are folded into products of three times the width, the others are those of the network.
    width = subject.network.width
    assert flops == 16 * (flops_per_row(subject.network) - 2 * 2 * width * width)
    times = [operation.us_per_call * operation.calls_per_step for operation in found]
    assert times == sorted(times, reverse=True)


def test_a_profiled_measurement_has_them_for_the_fused_arms(case):
    result = measure(case, [ARMS["eager-fp32"], ARMS["fused-fp32"]], 1, profiled=True)
    assert [bool(arm.operations) for arm in result.arms] == [False, True]


def test_gaps_between_kernels():
    # Two overlap; gaps of 2 and 5.
    assert find_gaps([(10, 20), (0, 4), (3, 8), (25, 30)], 2) == Gaps(2.0, 3.5, 3.5, 5)
    assert find_gaps([(0, 10), (2, 3), (10, 12)], 1) == Gaps(3.0, 0, 0, 0)
    assert find_gaps([], 1) == Gaps(0, 0, 0, 0)
