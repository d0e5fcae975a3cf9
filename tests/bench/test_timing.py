"""Arithmetic of timing and of profiles. Nothing here depends on how long anything takes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dimvida.bench import timing
from dimvida.bench.timing import (
    OTHER,
    OUTSIDE,
    WORK_KINDS,
    beside_products,
    interleaved,
    kind_of,
    profile,
    summarise,
)
from dimvida.results.benchmarks import Spread
from dimvida.results.sampling import Operation

CPU = torch.device("cpu")


def test_quartiles():
    assert Spread.of([5.0, 1.0, 2.0, 4.0, 3.0]) == Spread(3.0, 2.0, 4.0, 5)
    assert Spread.of([1.0, 2.0]) == Spread(1.5, 1.25, 1.75, 2)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0, 1)
    assert Spread(3.0, 2.0, 4.0, 5).scaled(0.5) == Spread(1.5, 1.0, 2.0, 5)


def test_arms_take_turns():
    calls: list[str] = []
    works = {name: lambda name=name: calls.append(name) for name in "abcd"}
    seconds = interleaved(works, 6, CPU)
    rounds = [calls[start : start + 4] for start in range(0, 24, 4)]
    assert all(sorted(round_) == list("abcd") for round_ in rounds)
    assert len({tuple(round_) for round_ in rounds}) > 1  # and not always in the same order
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys("abcd", 6)


def test_a_limit_ends_after_the_round_at_hand():
    calls: list[str] = []
    works = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = interleaved(works, 6, CPU, limit=0)
    assert sorted(calls) == ["a", "b"] and all(len(values) == 1 for values in seconds.values())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::addmm", "products"),
        ("aten::mm", "products"),
        ("mkldnn::_linear_pointwise", "products"),
        ("aten::linear", "products"),
        ("nvjet_sm90_tst_128x256_64x4_2x1_v_bz_coopA_TNT", "products"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64", "products"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816>", "products"),
        ("triton_tem_fused_addmm_3", "products"),
        ("aten::native_group_norm", "norm"),
        ("dimvida::group_norm_silu", "norm"),
        ("void at::native::RowwiseMomentsCUDAKernel<float>", "norm"),
        ("aten::silu", "norm"),
        ("dimvida::masked_step_", "step"),
        ("dimvida::philox_normal_", "step"),
        ("aten::normal_", "step"),
        ("aten::cat", "copies"),
        ("aten::copy_", "copies"),
        ("Memcpy DtoD (Device -> Device)", "copies"),
        ("aten::where", "other"),
        ("aten::add", "other"),
        ("aten::clamp", "other"),
    ],
)
def test_kinds_of_work(name: str, kind: str):
    assert kind_of(name) == kind


def test_shares_of_a_step():
    operations = [Operation("mm", "products", 6.0, 1), Operation("norm", "norm", 2.0, 1)]
    shares = summarise(operations, 10.0).shares
    assert shares == pytest.approx(
        dict.fromkeys((*WORK_KINDS, OTHER), 0.0) | {"products": 0.6, "norm": 0.2, OUTSIDE: 0.2}
    )
    # Kernels side by side: nothing is outside, and the shares are those of the kernels.
    shares = summarise(operations, 4.0).shares
    assert (shares["products"], shares[OUTSIDE]) == (0.75, 0)
    assert summarise(operations, 10.0).operations[0].name == "mm"


def test_a_profile_sees_the_operations():
    x = torch.randn(64, 64)
    found = profile(lambda: [x @ x for _ in range(6)], CPU, evaluations=3)
    products = next(operation for operation in found.operations if operation.name == "aten::mm")
    assert (products.kind, products.calls_per_step) == ("products", 2)


def test_what_is_beside_products_of_the_processors_time(monkeypatch):
    """On a clock that goes on in products, in attention and once beside them only, there at times for longer."""
    now, other = 0.0, iter([5.0, 3.0, 4.0])

    def taking(function, seconds: float):
        def run(*args, **kwargs):
            nonlocal now
            now += seconds
            return function(*args, **kwargs)

        return run

    monkeypatch.setattr(timing.time, "process_time", lambda: now)
    monkeypatch.setattr(torch, "addmm", taking(torch.addmm, 3.0))
    attention = taking(functional.scaled_dot_product_attention, 2.0)
    monkeypatch.setattr(functional, "scaled_dot_product_attention", attention)
    x, heads = torch.ones(4, 4), torch.ones(1, 1, 4, 4)

    def work():
        torch.addmm(x[0], x, x)
        functional.scaled_dot_product_attention(heads, heads, heads)
        taking(functional.gelu, next(other))(x)

    assert beside_products(work, 3) == 3 / 8
    assert functional.scaled_dot_product_attention is attention
