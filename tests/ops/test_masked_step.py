"""The masked step: kernels against the reference, and what each row of the table means."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dimvida import ops
from dimvida.bench.machine import torch_threads
from dimvida.ops import reference, registration

from .conftest import same

EULER = (0.8, 0.6, 0.5, 0.4, 0.0, 0.3)
MULTISTEP = (0.8, 0.6, 0.5, 0.4, -0.1, 0.3)
DETERMINISTIC = (0.8, 0.6, 0.5, 0.4, -0.1, 0.0)
RENOISE = (0.8, 0.6, 0.9, 0.0, 0.0, 0.4)
IDENTITY = (0.8, 0.6, 1.0, 0.0, 0.0, 0.0)
ROWS = [EULER, MULTISTEP, DETERMINISTIC, RENOISE, IDENTITY]
FLOATING = [torch.float32, torch.bfloat16, torch.float16]


def run(backend, case):
    """The step's results on a copy of the case."""
    case = case.clone()
    backend(*case.args())
    return case


def step_op(*args):
    torch.ops.dimvida.masked_step_(*args)


@st.composite
def step_cases(draw):
    return dict(
        batch=draw(st.integers(0, 5)),
        views=draw(st.integers(2, 7)),
        dim=draw(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 16, 31, 64, 65])),
        row=draw(st.sampled_from(ROWS)),
        out_dtype=draw(st.sampled_from(FLOATING)),
        cast_dtype=draw(st.sampled_from([None, *FLOATING])),
        step_dtype=draw(st.sampled_from([torch.int32, torch.int64])),
        clip=draw(st.sampled_from([math.inf, 0.5])),
        known=draw(st.sampled_from([0.0, 0.4, 1.0])),
        seed=draw(st.integers(0, 2**31)),
    )


@given(options=step_cases())
@settings(max_examples=100, deadline=None)
def test_kernel_equals_reference_bit_for_bit_when_noise_is_given(make_step, options):
    case = make_step(**options, noise=True)
    got, expected = run(step_op, case), run(reference.masked_step_, case)
    assert same(got.x, expected.x)
    assert same(got.x0_prev, expected.x0_prev)
    assert same(got.x_cast, expected.x_cast)


@given(options=step_cases())
@settings(max_examples=100, deadline=None)
def test_kernel_draws_the_noise_of_philox_normal(make_step, options):
    case = make_step(**options)
    z = torch.empty_like(case.x)
    ops.philox_normal_(z, case.sample_ids, case.seed, int(case.step) + 1)
    drawn, given_ = run(step_op, case), run(step_op, replace(case, noise=z))
    assert same(drawn.x, given_.x)
    assert same(drawn.x0_prev, given_.x0_prev)
    assert same(drawn.x_cast, given_.x_cast)


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("shape", [(3, 4, 64), (2, 24, 5), (129, 2, 33), (1, 3, 4097)])
def test_devices_agree(make_step, device, row, shape):
    case = make_step(*shape, row=row)
    got, expected = run(step_op, case.clone(device)), run(reference.masked_step_, case)
    # A few ulp of z, whose magnitude is at most 7, scaled by d; everything else has the same bits.
    tolerance = 4 * 7 * 2.0**-23 * row[5]
    torch.testing.assert_close(got.x.cpu(), expected.x, rtol=2.0**-22, atol=tolerance)
    assert same(got.x0_prev, expected.x0_prev)


def test_formula(make_step):
    sigma, m, a, b, c, d = MULTISTEP
    case = make_step(row=MULTISTEP, noise=True, known=0.0, clip=0.7)
    got = run(step_op, case)
    x, out, z = case.x.double(), case.model_output.double(), case.noise.double()
    x0 = ((x + sigma * out) / m).clamp(-0.7, 0.7)
    torch.testing.assert_close(got.x0_prev.double(), x0, rtol=1e-6, atol=1e-6)
    expected = a * x + b * x0 + c * case.x0_prev.double() + d * z
    torch.testing.assert_close(got.x.double(), expected, rtol=1e-6, atol=1e-6)


def test_known_views_are_untouched_bit_for_bit(make_step, device):
    case = make_step(batch=40, dim=17, row=MULTISTEP).clone(device)
    # Values that arithmetic would not leave as they are.
    case.x[case.known] = math.nan
    case.x[0][case.known[0]] = -0.0
    case.model_output[case.known] = math.nan
    got = run(step_op, case)
    assert same(got.x[case.known], case.x[case.known])
    assert same(got.x0_prev[case.known], case.x0_prev[case.known])
    missing = ~case.known
    assert missing.any() and case.known.any()
    assert (got.x[missing] != case.x[missing]).all()


@pytest.mark.parametrize("cast_dtype", FLOATING)
def test_low_is_a_copy_of_the_whole_state(make_step, device, cast_dtype):
    case = make_step(batch=9, dim=13, cast_dtype=cast_dtype).clone(device)
    got = run(step_op, case)
    assert same(got.x_cast, got.x.to(cast_dtype))


@pytest.mark.parametrize("row", [RENOISE, IDENTITY])
def test_a_row_without_prediction_reads_no_output_and_keeps_the_history(make_step, device, row):
    case = make_step(row=row).clone(device)
    got = run(step_op, replace(case, model_output=torch.full_like(case.model_output, math.nan)))
    assert same(got.x0_prev, case.x0_prev)
    assert same(got.x, run(step_op, case).x)


def test_terms_that_are_off_read_nothing(make_step, device):
    case = make_step(row=(0.8, 0.6, 0.5, 0.4, 0.0, 0.0)).clone(device)
    unread = torch.full_like(case.x, math.nan)
    got = run(step_op, replace(case, x0_prev=unread, noise=unread))
    assert got.x.isfinite().all()
    assert got.x0_prev[~case.known].isfinite().all()


@pytest.mark.parametrize("backend", [step_op, reference.masked_step_], ids=["op", "reference"])
def test_nan_is_not_clamped_away(make_step, backend):
    case = make_step(row=DETERMINISTIC, known=0.0, clip=1.0)
    case.model_output[0, 0, 0] = math.nan
    got = run(backend, case)
    assert got.x[0, 0, 0].isnan() and got.x0_prev[0, 0, 0].isnan()
    assert got.x.isnan().sum() == 1


@pytest.mark.parametrize("backend", [step_op, reference.masked_step_], ids=["op", "reference"])
@pytest.mark.parametrize("step", [-1, 3, 2**31 - 1])
def test_a_step_outside_the_table_raises_and_changes_nothing(make_step, backend, step):
    case = replace(make_step(), step=torch.tensor([step]))
    before = case.clone()
    with pytest.raises(IndexError, match="step"):
        backend(*case.args())
    assert same(case.x, before.x) and same(case.x0_prev, before.x0_prev) and same(case.x_cast, before.x_cast)


@given(options=step_cases(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_sample_does_not_depend_on_its_batch(make_step, options, data):
    options["batch"] = max(1, options["batch"])
    case = make_step(**options)
    first = data.draw(st.integers(0, options["batch"] - 1))
    last = data.draw(st.integers(first + 1, options["batch"]))
    whole, part = run(step_op, case), run(step_op, case.rows(slice(first, last)))
    assert same(part.x, whole.x[first:last])
    assert same(part.x0_prev, whole.x0_prev[first:last])


@pytest.mark.parametrize("simd", ops.build_info()["simd_supported"])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(700, 4, 16), (3, 5, 2801)])
def test_every_thread_count_and_instruction_set_gives_the_same_bits(make_step, simd, threads, shape):
    case = make_step(*shape, out_dtype=torch.bfloat16)
    expected, got = run(step_op, case), case.clone()
    registration.OPS["masked_step_"].on_cpu(*got.args(), threads=threads, simd=simd)
    assert same(got.x, expected.x)
    assert same(got.x0_prev, expected.x0_prev)
    assert same(got.x_cast, expected.x_cast)


def test_the_number_of_threads_is_that_of_torch(make_step):
    case = make_step(batch=700)
    results = []
    for threads in (1, 2):
        with torch_threads(threads):
            results.append(run(step_op, case))
    assert same(results[0].x, results[1].x)


@pytest.mark.parametrize("simd", ops.build_info()["simd_supported"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_16_bit_number_is_read_exactly(make_step, simd, dtype):
    values = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype).reshape(16, 4, 1024)
    # x0 = (0 + 1 out) / 1 is the network's output itself.
    case = make_step(16, 4, 1024, row=(1.0, 1.0, 0.0, 1.0, 0.0, 0.0), known=0.0, cast_dtype=None)
    case = replace(case, x=torch.zeros(16, 4, 1024), model_output=values)
    registration.OPS["masked_step_"].on_cpu(*case.args(), simd=simd)
    torch.testing.assert_close(case.x0_prev, values.float(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("simd", ops.build_info()["simd_supported"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_numbers_are_rounded_to_nearest_even(make_step, simd, dtype):
    # Every exponent and sign with random mantissas, and the neighbourhood of every tie between two halves.
    bits = torch.randint(-(2**31), 2**31, (2**17,), generator=torch.Generator().manual_seed(1))
    ties = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.float16).float().view(torch.int32).long()
    bits = torch.cat([bits, ties + 0x1000, ties + 0xFFF, ties + 0x1001, (ties & ~0xFFFF) + 0x8000])
    values = ((bits + 2**31) % 2**32 - 2**31).to(torch.int32).view(torch.float32).reshape(-1, 4, 1024)
    case = make_step(len(values), 4, 1024, row=IDENTITY, known=1.0, cast_dtype=dtype)
    case = replace(case, x=values)
    registration.OPS["masked_step_"].on_cpu(*case.args(), simd=simd)
    expected = values.to(dtype)
    assert torch.equal(case.x_cast.isnan(), expected.isnan())
    finite = ~expected.isnan()
    assert same(case.x_cast[finite], expected[finite])
