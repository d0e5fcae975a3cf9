"""What torch and callers may rely on: registration, compilation, refused gradients, refused arguments."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from dimvida import ops
from dimvida.ops import reference

OPS = torch.ops.dimvida


def normal_arguments(device="cpu"):
    return torch.zeros(3, 4, 5, device=device), torch.arange(3, device=device), torch.tensor([1], device=device), 2


def words_arguments(device="cpu"):
    return torch.arange(8, device=device).reshape(2, 4), torch.tensor([1, 2], device=device)


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("cast_dtype", [None, torch.bfloat16])
def test_opcheck_masked_step(make_step, device, noise, cast_dtype):
    case = make_step(noise=noise, cast_dtype=cast_dtype).clone(device)
    torch.library.opcheck(OPS.masked_step_.default, case.args())


def test_opcheck_noise(device):
    torch.library.opcheck(OPS.philox_normal_.default, normal_arguments(device))
    torch.library.opcheck(OPS.philox4x32.default, words_arguments(device))


@pytest.mark.parametrize("cast_dtype", [None, torch.float16])
def test_masked_step_compiles_without_a_graph_break(make_step, device, cast_dtype):
    def step(x, *rest):
        x = x + 0.0
        OPS.masked_step_(x, *rest)
        return x * 2.0

    case = make_step(cast_dtype=cast_dtype).clone(device)
    eager, compiled = case.clone(), case.clone()
    expected = step(*eager.args())
    got = torch.compile(step, fullgraph=True, backend="aot_eager")(*compiled.args())
    assert torch.equal(got, expected)
    assert torch.equal(compiled.x0_prev, eager.x0_prev)
    assert cast_dtype is None or torch.equal(compiled.x_cast, eager.x_cast)


def test_noise_ops_compile_without_a_graph_break(device):
    def noise(z, sample_ids, seed, draw):
        ops.philox_normal_(z, sample_ids, seed, draw)
        return z.sum(), ops.philox4x32(z.new_zeros((2, 4), dtype=torch.int64), torch.cat([seed, seed]))

    expected = noise(*normal_arguments(device))
    got = torch.compile(noise, fullgraph=True, backend="aot_eager")(*normal_arguments(device))
    assert torch.equal(got[0], expected[0]) and torch.equal(got[1], expected[1])


@pytest.mark.parametrize("name", ["x", "x0_prev", "model_output", "noise", "x_cast"])
def test_masked_step_refuses_a_tensor_that_requires_grad(make_step, device, name):
    case = make_step(noise=True).clone(device)
    before = case.clone()
    getattr(case, name).requires_grad_()
    with pytest.raises(RuntimeError, match="no_grad"):
        OPS.masked_step_(*case.args())
    assert torch.equal(case.x, before.x)
    with torch.no_grad():
        OPS.masked_step_(*case.args())
    assert not torch.equal(case.x, before.x)


def test_philox_normal_refuses_a_tensor_that_requires_grad(device):
    z, *rest = normal_arguments(device)
    with pytest.raises(RuntimeError, match="no_grad"):
        ops.philox_normal_(z.requires_grad_(), *rest)


def test_a_tensor_that_requires_grad_is_refused_while_tracing(make_step):
    case = make_step()
    with FakeTensorMode(allow_non_fake_inputs=False) as mode:
        fake = [mode.from_tensor(a) if isinstance(a, torch.Tensor) else a for a in case.args()]
        fake[0] = torch.empty(5, 4, 16, requires_grad=True)
        with pytest.raises(RuntimeError, match="no_grad"):
            OPS.masked_step_(*fake)


def test_inference_mode(make_step):
    case = make_step()
    expected = case.clone()
    OPS.masked_step_(*expected.args())
    with torch.inference_mode():
        got = case.clone()
        OPS.masked_step_(*got.args())
    assert torch.equal(got.x, expected.x)


def test_empty_batches_and_empty_latents(make_step, device):
    for shape in [(0, 4, 16), (3, 0, 16), (3, 4, 0)]:
        case = make_step(*shape).clone(device)
        OPS.masked_step_(*case.args())
        assert case.x.shape == shape
    assert ops.philox4x32(torch.empty((0, 4), dtype=torch.int64), torch.tensor([1, 2])).shape == (0, 4)


def other_dtypes(tensor, allowed):
    return [d for d in (torch.float64, torch.float16, torch.int32, torch.int64, torch.bool) if d not in allowed]


FLOATING = (torch.float32, torch.bfloat16, torch.float16)
ALLOWED = {
    "x": FLOATING[:1],
    "x0_prev": FLOATING[:1],
    "model_output": FLOATING,
    "known": (torch.bool,),
    "table": FLOATING[:1],
    "step": (torch.int32, torch.int64),
    "sample_ids": (torch.int64,),
    "seed": (torch.int64,),
    "noise": FLOATING[:1],
    "x_cast": FLOATING,
}


def strided(tensor):
    """The same values, not contiguous."""
    return torch.stack([tensor, tensor], dim=-1)[..., 0]


def wrong_value(draw, name, tensor):
    """A tensor that does not fit its argument."""
    kind = draw(st.sampled_from(["dtype", "longer", "shorter", "dims", "flat", "strided", "device", "freed"]))
    if kind == "dtype":
        return tensor.to(draw(st.sampled_from(other_dtypes(tensor, ALLOWED[name]))))
    if kind == "longer":
        dim = draw(st.integers(0, tensor.dim() - 1))
        # One more row makes another table, not a wrong one.
        dim = 1 if name == "table" else dim
        return torch.cat([tensor, tensor.narrow(dim, 0, 1)], dim)
    if kind == "shorter":
        dim = 1 if name == "table" else draw(st.integers(0, tensor.dim() - 1))
        return tensor.narrow(dim, 0, tensor.shape[dim] - 1).contiguous()
    if kind == "dims":
        return tensor[None]
    if kind == "flat":
        return tensor[..., 0].contiguous()
    if kind == "strided":
        return strided(tensor) if tensor.numel() > 1 else tensor.double()
    if kind == "device":
        return tensor.to("meta")
    copy = tensor.clone()
    copy.untyped_storage().resize_(0)
    return copy


@given(data=st.data(), name=st.sampled_from(sorted(ALLOWED)))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_masked_step_refuses_what_does_not_fit(make_step, data, name):
    case = make_step(noise=True, row=(0.8, 0.6, 0.5, 0.4, -0.1, 0.3), known=0.0)
    before = case.clone()
    case = replace(case, **{name: wrong_value(data.draw, name, getattr(case, name))})
    with pytest.raises((TypeError, ValueError, RuntimeError, IndexError)):
        OPS.masked_step_(*case.args())
    if name != "x":
        assert torch.equal(case.x, before.x)
    if name != "x0_prev":
        assert torch.equal(case.x0_prev, before.x0_prev)


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan, -math.inf])
@pytest.mark.parametrize("backend", [OPS.masked_step_, reference.masked_step_], ids=["op", "reference"])
def test_masked_step_refuses_a_clip_that_bounds_nothing(make_step, backend, clip):
    case = replace(make_step(), clip=clip)
    with pytest.raises(ValueError, match="clip"):
        backend(*case.args())


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"x": torch.zeros(5, 4, 16, dtype=torch.float64)}, TypeError, "x must be float32, not float64"),
        (
            {"model_output": torch.zeros(5, 4, 16, dtype=torch.int64)},
            TypeError,
            "model_output must be float32 or bfloat16 or float16",
        ),
        ({"known": torch.zeros(5, 3, dtype=torch.bool)}, ValueError, r"known must have shape \[5, 4\], not \[5, 3\]"),
        ({"table": torch.zeros(3, 6)}, ValueError, r"table must have shape \[3, 8\], not \[3, 6\]"),
        ({"seed": torch.zeros(1, dtype=torch.int64, device="meta")}, ValueError, "meta"),
        ({"x0_prev": torch.zeros(5, 16, 4).transpose(1, 2)}, ValueError, "x0_prev must be contiguous"),
        ({"x": torch.zeros(5, 64)}, ValueError, r"x must have shape \[B, V, D\], not \[5, 64\]"),
    ],
)
def test_messages_name_the_argument(make_step, changes, error, message):
    with pytest.raises(error, match=message):
        OPS.masked_step_(*replace(make_step(), **changes).args())


@pytest.mark.parametrize("written", ["x", "x0_prev", "x_cast"])
@pytest.mark.parametrize("other", ["x", "x0_prev", "x_cast", "model_output", "noise"])
@pytest.mark.parametrize("shift", [0, 1, 64, 5 * 64 - 1])
def test_masked_step_refuses_memory_that_is_shared(make_step, written, other, shift):
    if other == written:
        return
    case = make_step(noise=True, cast_dtype=torch.float32, known=0.0)
    count = case.x.numel()
    memory = torch.randn(2 * count)
    case = replace(
        case, **{written: memory[:count].view_as(case.x), other: memory[shift : shift + count].view_as(case.x)}
    )
    before = memory.clone()
    if shift == 0 and other in ("model_output", "noise"):  # each element is read before it is written
        expected = case.clone()
        reference.masked_step_(*expected.args())
        OPS.masked_step_(*case.args())
        torch.testing.assert_close(getattr(case, written), getattr(expected, written))
    else:
        with pytest.raises(ValueError, match=r"shares? memory"):
            OPS.masked_step_(*case.args())
        assert torch.equal(memory, before)


def test_tensors_side_by_side_in_one_memory_are_taken(make_step):
    case = make_step(noise=True)
    memory = torch.empty(5, *case.x.shape)
    names = ("x", "x0_prev", "model_output", "noise")
    tensors = {name: memory[i].copy_(getattr(case, name)) for i, name in enumerate(names)}
    expected = case.clone()
    OPS.masked_step_(*expected.args())
    OPS.masked_step_(*replace(case, **tensors).args())
    assert torch.equal(memory[0], expected.x) and torch.equal(memory[1], expected.x0_prev)


@pytest.mark.parametrize("name", ["sample_ids", "seed"])
def test_philox_normal_refuses_memory_that_is_shared(name):
    memory = torch.ones(20, dtype=torch.int64)
    z = memory.view(torch.float32)[2:14].view(2, 6)
    ids, seed = (memory[:2], torch.tensor([1])) if name == "sample_ids" else (torch.arange(2), memory[6:7])
    with pytest.raises(ValueError, match=f"z shares memory with {name}"):
        ops.philox_normal_(z, ids, seed, 0)
    assert (memory == 1).all()


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_philox_normal_refuses_what_does_not_fit(data):
    z, ids, seed, draw = normal_arguments()
    bad = {
        "z": [z.double(), z.long(), strided(z), torch.tensor(1.0), z.to("meta"), z[:2].contiguous(), z.to_sparse()],
        "ids": [ids.int(), ids.float(), ids[:2].contiguous(), ids[None], strided(ids), ids.to("meta"), ids[0]],
        "seed": [seed.int(), seed.float(), seed[0], torch.cat([seed, seed]), seed.to("meta"), seed[:0]],
        "draw": [-1, 2**32, -(2**63), 2**63 - 1],
    }
    name = data.draw(st.sampled_from(sorted(bad)))
    value = data.draw(st.sampled_from(bad[name]))
    arguments = {"z": z, "ids": ids, "seed": seed, "draw": draw, name: value}
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        ops.philox_normal_(*arguments.values())
    assert (z == 0).all()


@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_philox4x32_refuses_what_does_not_fit(data):
    counters, key = words_arguments()
    bad_counters = [counters.int(), counters.float(), counters[0], counters[:, :3], strided(counters), counters.t()]
    bad_keys = [key.int(), key.double(), key[:1], key[None], key.repeat(2), key.to("meta"), strided(key), key[0]]
    if data.draw(st.booleans()):
        counters = data.draw(st.sampled_from(bad_counters))
    else:
        key = data.draw(st.sampled_from(bad_keys))
    with pytest.raises((TypeError, ValueError)):
        ops.philox4x32(counters, key)
