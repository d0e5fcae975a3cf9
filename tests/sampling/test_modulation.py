"""What modulates the tokens of a view transformer, and which of them the evaluations of a trajectory compute."""

from __future__ import annotations

import pytest
import torch
from helpers.networks import tiny_transformer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dimvida.models import ViewTransformer
from dimvida.sampling import sample
from dimvida.sampling.engine import engine_of
from dimvida.sampling.modulation import Modulation

from .conftest import random_inputs

CPU = torch.device("cpu")
FLOAT32 = {"backend": "fused", "dtype": torch.float32}

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_row_of_the_table_is_what_a_time_gives_directly():
    network, times = tiny_transformer(4, (2, 4, 4)), torch.tensor([1.0, 0.6, 0.1])
    known = torch.zeros(1, 4, dtype=torch.bool)
    with torch.no_grad():
        table, step = Modulation(network, known, torch.zeros(4, 4, 16), times, 2**20).at(torch.tensor([2]))
        assert table.shape == (4, 5, 3, 16) and int(step) == 2
        for row, time in enumerate((0.0, *times.tolist())):
            given = torch.full((1, 4), time)
            c = captured_condition(network, given)[0, 0, 0]
            for number, block in enumerate(network.blocks):
                shift1, scale1, gate1, shift2, scale2, gate2 = block.modulation(c).chunk(6)
                torch.testing.assert_close(table[row, 2 * number, 1:], torch.stack([shift1, 1 + scale1]))
                torch.testing.assert_close(table[row, 2 * number + 1], torch.stack([gate1, shift2, 1 + scale2]))
                torch.testing.assert_close(table[row, 2 * number + 2, 0], gate2)
            shift, scale = network.modulation(c).chunk(2)
            torch.testing.assert_close(table[row, 4, 1:], torch.stack([shift, 1 + scale]))
            assert (table[row, 0, 0] == 1).all()


def captured_condition(network: ViewTransformer, tau: Tensor) -> Tensor:
    """What the network's own forward pass modulates its first block with, [B, n, 1, W]."""
    seen = []
    hook = network.blocks[0].register_forward_pre_hook(lambda block, given: seen.append(given[1]))
    network(torch.zeros(*tau.shape, network.latent_dim), tau)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("solver", ["sde-dpmpp-2m", "repaint"])
def test_a_table_too_large_to_hold_is_made_step_by_step(solver: str):
    network = tiny_transformer(4, (2, 4, 4))
    latents, known = random_inputs(4, 4, 32)
    options = {"solver": solver, "steps": 6, "x0_clip": 4.0, **FLOAT32}
    whole = sample(network, latents, known, **options)
    engine_of(network, torch.float32, CPU).largest_table = 0
    torch.testing.assert_close(sample(network, latents, known, **options), whole, rtol=1e-5, atol=1e-5)


def given_views(name: str) -> Tensor:
    """Which views of six rows are known, bool [6, 4]."""
    if name == "as many of each row":
        return torch.tensor([[True, True, False, True], [False, True, True, True], [True, False, True, True]] * 2)
    rows = {
        "others in each row": [0b0001, 0b0111, 0b0110, 0b1110, 0b1000, 0b1010],
        "one row with none": [0b0000, 0b0111, 0b0110, 0b1110, 0b1000, 0b1010],
        "one row with all": [0b1111, 0b0111, 0b0110, 0b1110, 0b1000, 0b1010],
        "none": [0] * 6,
        "all": [15] * 6,
    }[name]
    return torch.tensor([[row >> view & 1 == 1 for view in range(4)] for row in rows])


GIVEN = ("as many of each row", "others in each row", "one row with none", "one row with all", "none", "all")


@pytest.mark.parametrize("largest", [2**28, 0], ids=["whole table", "a row at a time"])
@pytest.mark.parametrize("solver", ["repaint", "sde-dpmpp-2m"])
@pytest.mark.parametrize("name", GIVEN)
def test_known_views_that_attend_to_known_ones_are_computed_once(name: str, solver: str, largest: int):
    network, known = tiny_transformer(4, (2, 4, 4), known_attend="known"), given_views(name)
    engine_of(network, torch.float32, CPU).largest_table = largest
    latents, _ = random_inputs(6, 4, 32)
    options = {"solver": solver, "steps": 6, "x0_clip": 4.0, "seed": 5, "prediction": "velocity"}
    for views in (None, torch.tensor([[3, 0, 1, 2], [0, 1, 2, 3], [2, 2, 1, 0]]).repeat(2, 1)):
        eager = sample(network, latents, known, backend="eager", views=views, **options)
        fused = sample(network, latents, known, views=views, **FLOAT32, **options)
        torch.testing.assert_close(fused, eager, rtol=1e-5, atol=1e-5)
        assert torch.equal(fused[known], latents[known])


class TokenRows(TorchDispatchMode):
    """Counts the rows of all products that write into buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.mm.out, torch.ops.aten.addmm.out):
            self.count += len(kwargs["out"])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("known_attend", "views"), [("all", 5 * 4), ("known", 4 + 4 * 1)])
def test_what_is_computed_once_costs_once(known_attend: str, views: int):
    network, (latents, _) = tiny_transformer(4, (2, 4, 4), known_attend=known_attend), random_inputs(6, 4, 32)
    with TokenRows() as rows:
        sample(network, latents, given_views("as many of each row"), solver="ddim", steps=5, **FLOAT32)
    products, places = 2 + 4 * len(network.blocks), 4
    assert rows.count == products * 6 * views * places
