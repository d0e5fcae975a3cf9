"""What exactly is averaged."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from dimvida.errors import InputError
from dimvida.evaluation.metrics import psnr, ssim
from dimvida.evaluation.views import mean_score, score_known, score_reconstruction, subsets
from dimvida.sampling.multiview import MultiViewModel, load
from dimvida.sampling.noise import sample_id_tensor

IDS = ("chair/a", "chair/b", "table/c")


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> MultiViewModel:
    return load(tiny_checkpoint)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 4, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("known", [1, 2, 3])
def test_the_mean_is_over_every_view_generated_from_every_subset(model, images, known: int):
    score = score_known(model, images, IDS, known, batch=2, steps=2, seed=3)
    values = []
    for subset in itertools.combinations(range(4), known):
        given = torch.tensor([view in subset for view in range(4)])
        completed = model.generate(images, given.expand(3, 4), steps=2, seed=3, sample_ids=sample_id_tensor(IDS))
        for object_, view in itertools.product(range(3), range(4)):
            if view not in subset:
                pair = completed[object_, view][None], images[object_, view][None]
                values.append((psnr(*pair).item(), ssim(*pair).item()))
    assert score.subsets == math.comb(4, known)
    assert score.psnr.pictures == score.ssim.pictures == len(values) == 3 * math.comb(4, known) * (4 - known)
    # Another batch may move a pixel by one level of 255.
    assert score.psnr.mean == pytest.approx(sum(p for p, _ in values) / len(values), abs=0.02)
    assert score.ssim.mean == pytest.approx(sum(s for _, s in values) / len(values), abs=0.002)


def test_the_ceiling_is_the_autoencoders_reconstruction_of_every_view(model, images):
    score = score_reconstruction(model, images, batch=2)
    flat = images.flatten(0, 1)
    decoded = (model.decode(model.encode(flat)) * 255).round().to(torch.uint8)
    assert score.psnr.mean == pytest.approx(psnr(decoded, flat).mean().item(), abs=0.02)
    assert score.psnr.pictures == 12


def test_standard_error_counts_objects_not_pictures():
    # Three objects of four equal pictures each are three independent values, not twelve.
    values = torch.tensor([20.0, 23.0, 26.0], dtype=torch.float64)[:, None].expand(3, 4)
    score = mean_score(values)
    assert (score.mean, score.pictures) == (23.0, 12)
    assert score.standard_error == pytest.approx(3 / math.sqrt(3))


def test_standard_error_of_one_picture_per_object_is_the_usual_one():
    values = torch.rand(50, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert mean_score(values).standard_error == pytest.approx((values.std() / math.sqrt(50)).item())


def test_equal_pictures_are_counted_and_left_out():
    values = torch.tensor([[10.0, math.inf], [20.0, 30.0]], dtype=torch.float64)
    score = mean_score(values)
    assert (score.mean, score.pictures, score.equal) == (20.0, 3, 1)
    nothing = mean_score(torch.full((2, 2), math.inf, dtype=torch.float64))
    assert math.isnan(nothing.mean) and (nothing.pictures, nothing.equal) == (0, 4)


def test_one_object_has_no_standard_error(model, images):
    score = score_known(model, images[:1], IDS[:1], 3, batch=1, steps=1)
    assert math.isnan(score.psnr.standard_error)
    assert score.to_dict()["psnr"]["standard_error"] is None


@pytest.mark.parametrize("known", [0, 4, -1])
def test_numbers_of_known_views_that_leave_nothing_to_do(known: int):
    with pytest.raises(InputError, match=f"--known {known}: must be between 1 and 3"):
        subsets(4, known)


def test_too_many_subsets():
    with pytest.raises(InputError, match="2704156 subsets of 24 views are too many"):
        subsets(24, 12)
    assert len(subsets(24, 2)) == 276
