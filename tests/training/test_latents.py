"""Latents and the variants of objects."""

from __future__ import annotations

import pytest
import torch

from dimvida.errors import InputError
from dimvida.training.latents import check_mirror, latent_statistics, object_variants


def test_variants_of_an_object():
    images = torch.arange(2 * 4 * 3 * 2 * 2).view(2, 4, 3, 2, 2)
    plain, mirrored, *others = (variant.of(images) for variant in object_variants(3, mirror=True, recolour=True))
    assert torch.equal(plain, images)
    assert len(others) == 10
    front, right, back, left = mirrored.unbind(1)
    assert torch.equal(front, images[:, 0].flip(-1))
    assert torch.equal(right, images[:, 3].flip(-1))
    assert torch.equal(back, images[:, 2].flip(-1))
    assert torch.equal(left, images[:, 1].flip(-1))
    seen = {tuple(variant[0, 0, :, 0, 0].tolist()) for variant in (plain, *others[::2])}
    assert len(seen) == 6 and all(sorted(colour) == [0, 4, 8] for colour in seen)
    assert [torch.equal(v.of(images), images) for v in object_variants(3, mirror=False, recolour=False)] == [True]


def test_statistics_by_hand():
    latents = torch.tensor([[[1.0, 5.0], [3.0, 5.0]]])
    mean, std = latent_statistics(latents, torch.ones(1, 2, dtype=torch.bool))
    assert mean.tolist() == [2.0, 5.0]
    assert std.tolist() == [1.0, torch.tensor(1e-6).item()]


@pytest.mark.parametrize(
    "names",
    [
        "front right back left",
        "front left back right",
        "back left front right",
        "Front Right Back Left",
        "front back",
        "front right left",
        "front front_right right back_right back back_left left front_left",
        "view0 view1 view2 view3",
        "front view1 back view3",
        "front bright back leftover",
    ],
)
def test_views_that_may_be_mirrored(names: str):
    check_mirror(names.split())


@pytest.mark.parametrize(
    "names",
    [
        "front back left right",
        "right back left front",
        "front right back",
        "front right",
        "left right",
        "front right back left top",
        "front front_left left back_left back right back_right front_right",
    ],
)
def test_views_whose_names_contradict_mirroring(names: str):
    with pytest.raises(InputError, match=r"^diffusion_stage\.mirror: .* mirror image of .*mirror=false"):
        check_mirror(names.split())
