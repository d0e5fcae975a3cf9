"""The view transformer's fused form against the eager network: the same numbers for any views, and a table of times."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers.networks import randomised, tiny_transformer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dimvida import ops
from dimvida.diffusion.solvers import SOLVERS
from dimvida.diffusion.step_table import StepRow, StepTable
from dimvida.models import TransformerConfig, ViewTransformer
from dimvida.sampling import sample
from dimvida.sampling.engine import Engine, engine_of
from dimvida.sampling.fused_transformer import FusedTransformer
from dimvida.sampling.loop import run_on_engine, run_trajectory
from dimvida.sampling.trajectory import Trajectory

from .conftest import Doubled, own_forward, random_inputs, subclass

CPU = torch.device("cpu")
CAMERAS = ((0.0, 30.0), (-90.0, 30.0), (180.0, 30.0), (90.0, 20.0))
FLOAT32 = {"backend": "fused", "dtype": torch.float32}

pytestmark = pytest.mark.usefixtures("one_thread")


def camera_transformer() -> ViewTransformer:
    config = TransformerConfig(width=16, depth=2, heads=2, patch=2, mlp_ratio=2, time_dim=8)
    return randomised(config.build(4, (2, 4, 4), CAMERAS))


@settings(max_examples=20)
@given(data=st.data())
def test_one_evaluation_equals_the_eager_one(data):
    heads, patch = data.draw(st.sampled_from([1, 2, 3])), data.draw(st.sampled_from([1, 2]))
    config = TransformerConfig(
        # Of two numbers a norm leaves hardly more than signs, which turn where they are equal.
        width=heads * data.draw(st.sampled_from([8, 9, 20])),
        depth=data.draw(st.integers(1, 3)),
        heads=heads,
        patch=patch,
        mlp_ratio=data.draw(st.sampled_from([1, 4])),
        time_dim=data.draw(st.sampled_from([2, 8])),
        known_attend=data.draw(st.sampled_from(["all", "known"])),
        modulation=data.draw(st.sampled_from(["block", "shared"])),
    )
    channels, edge, rows = (
        data.draw(st.integers(1, 3)),
        patch * data.draw(st.integers(1, 3)),
        data.draw(st.integers(1, 5)),
    )
    views = data.draw(st.sampled_from([2, 3, 24]))
    network = randomised(config.build(views, (channels, edge, edge)), data.draw(st.integers(0, 99)))
    latents, known = random_inputs(rows, views, network.latent_dim, data.draw(st.integers(0, 99)))
    table = StepTable((StepRow(data.draw(st.floats(0.2, 1.0)), sigma=0.8, m=0.6, a=0.9, b=0.2, c=0.0, d=0.3),))
    trajectory = Trajectory(table.tensor(), known, torch.arange(rows), torch.tensor([1]), None, 4.0)
    with torch.no_grad():
        fused = run_on_engine(Engine(torch.float32), network, latents.clone(), table, trajectory)
        eager = run_trajectory(network, latents.clone(), table, trajectory, ops.reference.masked_step_)
    torch.testing.assert_close(fused, eager, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("patch", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_patches_are_gathered_and_put_back_to_the_bit(dtype: torch.dtype, patch: int):
    network = TransformerConfig(width=16, depth=1, heads=2, patch=patch, time_dim=8).build(4, (3, 4, 4))
    plan = FusedTransformer(network, dtype)
    buffers = plan.allocate(5 * 4)
    # Any bits, also those of NaN in the words of four bytes that are moved.
    bits = torch.randint(-(2**15), 2**15, (5, 4, 48 * dtype.itemsize // 2), dtype=torch.int16)
    x = bits.view(dtype)
    plan._reorder(x, plan.patch_order, buffers.patches)
    expected = network._patches(x).flatten(0, 1)
    assert torch.equal(buffers.patches.view(torch.int16), expected.contiguous().view(torch.int16))
    plan._reorder(buffers.patches, plan.grid_order, buffers.model_output)
    assert torch.equal(buffers.model_output.view(torch.int16), bits.flatten(0, 1))


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_trajectory_equals_the_eager_one(solver: str, prediction: str):
    network = tiny_transformer(4, (2, 4, 4))
    latents, known = random_inputs(9, 4, 32)
    options = {"solver": solver, "steps": 20, "prediction": prediction, "x0_clip": 4.0, "seed": 5}
    eager = sample(network, latents, known, backend="eager", **options)
    fused = sample(network, latents, known, **FLOAT32, **options)
    torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-4)
    assert torch.equal(fused[known], latents[known])


WHICH = {
    "fewer": torch.tensor([2, 0]),
    "more, some twice": torch.tensor([1, 3, 0, 2, 2, 1, 0]),
    "others in each row": torch.tensor([[0, 1, 2], [3, 2, 1], [1, 0, 0]]),
    "cameras": torch.tensor([[0.0, 30.0], [45.0, 0.0], [-170.0, 60.0], [10.0, 30.0], [11.0, 30.0]]),
    "other cameras in each row": torch.tensor([[[0.0, 30.0], [45.0, 0.0]], [[9.0, 9.0], [5.0, 0.0]], [[1.0, 2.0]] * 2]),
}


@pytest.mark.parametrize("ids", ["of rows", "of views"])
@pytest.mark.parametrize("name", WHICH)
def test_any_views_as_the_eager_network_has_them(name: str, ids: str):
    views = WHICH[name]
    network = camera_transformer() if views.is_floating_point() else tiny_transformer(4, (2, 4, 4))
    count = views.shape[-2] if views.is_floating_point() else views.shape[-1]
    latents, known = random_inputs(3, count, 32)
    options = {"solver": "sde-dpmpp-2m", "steps": 5, "x0_clip": 4.0, "views": views}
    options["sample_ids"] = torch.arange(3) if ids == "of rows" else torch.arange(3 * count).view(3, count)
    eager = sample(network, latents, known, backend="eager", **options)
    torch.testing.assert_close(sample(network, latents, known, **FLOAT32, **options), eager, rtol=1e-4, atol=1e-4)


def test_named_views_of_a_network_that_takes_cameras():
    network = camera_transformer()
    latents, known = random_inputs(3, 4, 32)
    options = {"solver": "ddim", "steps": 4, "x0_clip": 4.0}
    eager = sample(network, latents, known, backend="eager", **options)
    torch.testing.assert_close(sample(network, latents, known, **FLOAT32, **options), eager, rtol=1e-4, atol=1e-4)


def test_with_ids_of_their_own_the_order_of_views_changes_their_order_alone():
    network, order = tiny_transformer(4, (2, 4, 4)), torch.tensor([2, 0, 3, 1])
    latents, known = random_inputs(3, 4, 32)
    ids = torch.arange(12).view(3, 4)
    options = {"solver": "sde-dpmpp-2m", "steps": 5, "x0_clip": 4.0, **FLOAT32}
    out = sample(network, latents, known, views=torch.arange(4), sample_ids=ids, **options)
    turned = sample(network, latents[:, order], known[:, order], views=order, sample_ids=ids[:, order], **options)
    torch.testing.assert_close(turned, out[:, order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_low_dtype_is_near_and_is_really_used(dtype: torch.dtype):
    network = tiny_transformer(4, (2, 4, 4))
    latents, known = random_inputs(64, 4, 32)
    options = {"solver": "sde-dpmpp-2m", "steps": 10, "x0_clip": 4.0, "prediction": "velocity", "backend": "fused"}
    exact, low = (sample(network, latents, known, dtype=each, **options) for each in (torch.float32, dtype))
    error = (low - exact)[~known].square().mean().sqrt() / exact[~known].square().mean().sqrt()
    # A number is off by up to 2^-9 of itself, in float16 by 2^-12.
    assert 0 < error < (0.01 if dtype == torch.bfloat16 else 0.00125)
    assert torch.equal(low[known], latents[known])


def test_only_what_changed_is_rebuilt():
    network = tiny_transformer(4, (2, 4, 4))
    builds = engine_of(network, torch.float32, CPU).builds
    options = {"solver": "ddim", "steps": 2, **FLOAT32}
    for rows, views in ((4, 4), (3, 4), (2, 8), (4, 4)):
        latents, known = random_inputs(rows, views, 32)
        sample(network, latents, known, views=torch.arange(views) % 4, **options)
    assert builds == {"weights": 1, "buffers": 1}
    sample(network, *random_inputs(5, 4, 32), **options)
    assert builds == {"weights": 1, "buffers": 2}
    before = sample(network, *random_inputs(5, 4, 32), **options)
    network.blocks[1].mlp[0].bias.data[3] += 1
    assert not torch.equal(sample(network, *random_inputs(5, 4, 32), **options), before)
    assert builds == {"weights": 2, "buffers": 2}


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64, torch.float16], ids=str)
def test_weights_of_other_kinds_are_the_numbers_that_they_are(kind: torch.dtype):
    network = tiny_transformer(4, (2, 4, 4)).to(kind)
    latents, known = random_inputs(4, 4, 32)
    options = {"solver": "ddim", "steps": 4, "x0_clip": 4.0}
    eager = sample(network, latents, known, backend="eager", **options)
    for _ in range(2):
        fused = sample(network, latents, known, **FLOAT32, **options)
        torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-4)
    assert engine_of(network, torch.float32, CPU).builds["weights"] == 1
    assert all(parameter.dtype == kind for parameter in network.parameters())


def other_layer(network: ViewTransformer) -> None:
    layer = Doubled(16, 16)
    layer.load_state_dict(network.blocks[0].attention_output.state_dict())
    network.blocks[0].attention_output = layer


def other_activation(network: ViewTransformer) -> None:
    network.blocks[1].mlp[1] = nn.ReLU()


def activation_of_another_place(network: ViewTransformer) -> None:
    network.blocks[1].mlp[1] = nn.SiLU()


def other_heads(network: ViewTransformer) -> None:
    network.blocks[1].heads //= 2


def no_bias(network: ViewTransformer) -> None:
    network.input = nn.Linear(network.input.in_features, network.input.out_features, bias=False)


def hook(network: ViewTransformer) -> None:
    network.blocks[1].attention_output.register_forward_hook(lambda module, given, result: result + 3)


@pytest.mark.parametrize(
    "change",
    [
        other_layer,
        other_activation,
        activation_of_another_place,
        other_heads,
        no_bias,
        hook,
        own_forward,
        subclass,
    ],
)
def test_a_network_that_is_more_than_its_weights_is_asked_itself(change):
    network = tiny_transformer(4, (2, 4, 4))
    latents, known = random_inputs(5, 4, 32)
    options = {"steps": 4, "x0_clip": 4.0, "solver": "sde-dpmpp-2m", "prediction": "velocity"}
    before = sample(network, latents, known, **FLOAT32, **options)
    change(network)
    eager = sample(network, latents, known, backend="eager", **options)
    fused = sample(network, latents, known, **FLOAT32, **options)
    torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(fused, before, rtol=1e-2)


def test_several_threads_get_what_each_gets_alone():
    network = tiny_transformer(4, (2, 4, 4))

    def draw(seed: int) -> Tensor:
        latents, known = random_inputs(3 + seed, 4, 32, seed)
        return sample(network, latents, known, steps=4, seed=seed, solver="sde-dpmpp-2m", x0_clip=4.0, **FLOAT32)

    alone = [draw(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for got, expected in zip(pool.map(draw, [*range(4)] * 3), alone * 3, strict=True):
            assert torch.equal(got, expected)
