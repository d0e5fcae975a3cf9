"""The score network's objective, and the views that a step draws."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch._dynamo

from dimvida.diffusion.schedule import VPSchedule
from dimvida.models import ScoreNetwork
from dimvida.training.diffusion import DiffusionObjective, ViewSets, evenly_spaced
from dimvida.training.ranks import Share
from dimvida.training.stage_config import DiffusionStageConfig

CPU = torch.device("cpu")


def test_every_variant_of_an_object_is_trained_on():
    # Variant k of an object holds the number k everywhere; the network sees which ones are drawn.
    latents = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 5, 2, 3)
    network = ScoreNetwork(2, 3, width=8, time_dim=4, groups=2)
    seen = set()
    network.register_forward_pre_hook(lambda module, inputs: seen.update(inputs[0][inputs[1] == 0].flatten().tolist()))
    objective = DiffusionObjective(network, latents, latents[0], DiffusionStageConfig(drop=0.0), VPSchedule(), CPU)
    assert objective.items == 5
    for step in range(30):
        objective.loss(Share(slice(0, 5)), **objective.draw(torch.arange(5), 0, step, slice(0, 5)))
    assert seen == {0.0, 1.0, 2.0, 3.0}


def test_weights_of_times_are_those_of_training_not_of_validation():
    latents = torch.randn(1, 64, 2, 3)
    network = ScoreNetwork(2, 3, width=8, time_dim=4, groups=2)  # which returns zeros
    losses = {}
    for time_weight in ("none", "clamped"):
        config = DiffusionStageConfig(time_weight=time_weight)
        objective = DiffusionObjective(network, latents, latents[0], config, VPSchedule(), CPU)
        drawn = objective.draw(torch.arange(64), 0, 0, slice(0, 64))
        losses[time_weight] = objective.loss(Share(slice(0, 64)), **drawn).item(), objective.validate(network)
    assert losses["clamped"][0] < 0.95 * losses["none"][0]
    assert losses["clamped"][1] == losses["none"][1]


RING = [(-45.0 * view, 30.0) for view in range(8)]


def drawn(sets: ViewSets, present: torch.Tensor) -> list[tuple[int, ...]]:
    views = sets.draw(present, torch.Generator().manual_seed(0))
    assert present.gather(1, views).sum(1).min() >= 2
    return [tuple(sorted(row)) for row in views.tolist()]


def test_every_set_is_as_likely():
    present = torch.ones(20_000, 5, dtype=torch.bool)
    counts = Counter(drawn(ViewSets(5, DiffusionStageConfig(views_drawn=2)), present))
    assert len(counts) == 10 and min(counts.values()) > 1800 and max(counts.values()) < 2200


@pytest.mark.parametrize("options", [{}, {"views_drawn": 4}, {"views_drawn": 9}])
def test_all_views_are_taken_in_their_order_and_nothing_is_drawn(options: dict):
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    sets = ViewSets(4, DiffusionStageConfig(**options))
    assert not sets.draws
    assert sets.draw(torch.ones(3, 4, dtype=torch.bool), generator).tolist() == [[0, 1, 2, 3]] * 3
    assert torch.equal(generator.get_state(), before)


def test_a_share_of_the_sets_is_evenly_spaced():
    config = DiffusionStageConfig(views_drawn=4, views_even=0.5)
    rows = Counter(drawn(ViewSets(8, config, RING), torch.ones(10_000, 8, dtype=torch.bool)))
    even = rows[0, 2, 4, 6] + rows[1, 3, 5, 7]
    assert 4900 < even < 5400  # and two of the 70 random sets are even
    assert abs(rows[0, 2, 4, 6] - rows[1, 3, 5, 7]) < 400 and len(rows) == 70


def test_an_even_set_with_one_view_there_gives_way_to_another():
    present = torch.zeros(100, 8, dtype=torch.bool)
    present[:, [0, 1, 3]] = True
    rows = drawn(ViewSets(8, DiffusionStageConfig(views_drawn=2, views_even=1.0), RING), present)
    assert set(rows) == {(0, 1), (0, 3), (1, 3)}


def test_spacing_is_by_angle_whatever_the_order_of_views():
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    cameras = torch.tensor(RING, dtype=torch.float64)[order]
    for count, apart in ((2, 180), (4, 90), (8, 45)):
        sets = evenly_spaced(cameras, count)
        assert sets.shape == (8, count)
        azimuths = cameras[sets][..., 0].remainder(360).sort(1).values
        assert torch.equal(azimuths.diff(dim=1), torch.full((8, count - 1), float(apart), dtype=torch.float64))


def test_views_of_another_height_do_not_mix_where_those_of_one_go_around():
    cameras = torch.tensor([*RING, *((azimuth, 0.0) for azimuth, _ in RING)], dtype=torch.float64)
    heights = cameras[evenly_spaced(cameras, 4)][..., 1]
    assert torch.equal(heights, heights[:, :1].expand(16, 4))


def test_views_above_each_other_have_no_even_sets():
    cameras = torch.tensor([(0.0, 0.0), (0.0, 20.0), (0.0, 40.0)], dtype=torch.float64)
    assert evenly_spaced(cameras, 3).shape == (0, 3)
    sets = ViewSets(3, DiffusionStageConfig(views_drawn=2, views_even=1.0), cameras.tolist())
    assert len(drawn(sets, torch.ones(50, 3, dtype=torch.bool))) == 50
