"""What is compared with what."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from dimvida.bench.quality import QualityBench, reconstruction
from dimvida.data.batch import MultiViewBatch
from dimvida.errors import InputError
from dimvida.evaluation.frechet import latent_frechet_distance, picture_latents
from dimvida.evaluation.metrics import build_metrics, psnr
from dimvida.evaluation.protocol import ModelEvaluation, evaluate_model
from dimvida.records import to_json
from dimvida.sampling.multiview import MultiViewModel, load
from dimvida.sampling.trajectory import sample_id_tensor

IDS = ("chair/a", "chair/b", "table/c")


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> MultiViewModel:
    return load(tiny_checkpoint)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 4, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def generated(model: MultiViewModel, images: torch.Tensor, known: int, **sampling) -> tuple[torch.Tensor, list[int]]:
    """Every generated picture of an object, uint8 [N, P, C, H, W], and which view each shows."""
    pictures, views = [], []
    for subset in itertools.combinations(range(4), known):
        given = torch.tensor([view in subset for view in range(4)])
        completed = model.generate(images, given.expand(3, 4), sample_ids=sample_id_tensor(IDS), **sampling)
        pictures.append(completed[:, ~given])
        views += [view for view in range(4) if view not in subset]
    return torch.cat(pictures, 1), views


@pytest.mark.parametrize("known", [1, 3])
def test_a_solver_is_compared_with_the_truth_and_with_the_reference(model, images, known: int):
    evaluations: list[int] = []
    bench = QualityBench(model, images, IDS, known, batch=2, seed=7, progress=evaluations.append)
    reference = bench.measure_reference(steps=6)
    quality = bench.measure("ddim", 3)
    sets = math.comb(4, known)
    assert sum(evaluations) == 3 * sets * (6 + 3)

    ours, views = generated(model, images, known, solver="ddim", steps=3, seed=7)
    theirs, _ = generated(model, images, known, solver="euler-maruyama", steps=6, seed=7)
    true = images[:, views]
    assert bench.views == views
    # Another batch may move a pixel by one level of 255.
    for score, pair in (
        (reference.psnr_true, (theirs, true)),
        (quality.psnr_true, (ours, true)),
        (quality.psnr_reference, (ours, theirs)),
    ):
        expected = psnr(pair[0].flatten(0, 1), pair[1].flatten(0, 1)).mean().item()
        assert score.mean == pytest.approx(expected, abs=0.02)
        assert score.count == 3 * sets * (4 - known)
    latents = [picture_latents(model, pictures, 3) for pictures in (ours, theirs, true)]
    expected = latent_frechet_distance(latents[0], latents[1], views)
    assert quality.distance_reference == pytest.approx(expected, rel=0.02)
    assert quality.distance_true == pytest.approx(latent_frechet_distance(latents[0], latents[2], views), rel=0.02)
    assert reference.psnr_reference is None and reference.distance_reference is None


def evaluated(model: MultiViewModel, images: torch.Tensor, known: int, **sampling) -> ModelEvaluation:
    labels = torch.full((len(images),), -1)
    objects = MultiViewBatch(images, torch.ones(images.shape[:2], dtype=torch.bool), labels, IDS, model.view_names)
    metrics = build_metrics(model.image_size, (), model.device, names=("psnr",))
    return evaluate_model(model, objects, (), metrics, [known], batch=3, **sampling)


def test_scores_are_those_of_evaluate(model, images):
    bench = QualityBench(model, images, IDS, 2, batch=3, seed=1)
    expected = evaluated(model, images, 2, solver="repaint", steps=4, seed=1).known[0].scores["psnr"]
    measured = bench.measure("repaint", 4).psnr_true
    assert measured.mean == pytest.approx(expected.mean, abs=1e-6)
    assert measured.standard_error == pytest.approx(expected.standard_error, rel=1e-6)


def test_the_reference_is_its_own_closest_match_and_another_draw_is_not(model, images):
    bench = QualityBench(model, images, IDS, 3, batch=3, dtype=torch.float32)  # as the reference always is
    bench.measure_reference(steps=6)
    again, other = bench.measure("euler-maruyama", 6), bench.measure_another_draw(steps=6)
    assert again.psnr_reference.equal == 3 * 4  # every picture is the same
    assert other.psnr_reference.equal == 0
    assert 0 <= again.distance_reference < other.distance_reference / 1000
    assert (other.solver, other.steps) == ("euler-maruyama", 6)


def test_the_largest_seed_has_a_successor(model, images):
    bench = QualityBench(model, images[:1], IDS[:1], 3, batch=1, seed=2**63 - 1)
    bench.measure_reference(steps=2)
    assert bench.measure_another_draw(steps=2).psnr_reference.equal == 0


def test_json_has_no_nan(model, images):
    bench = QualityBench(model, images[:1], IDS[:1], 3, batch=1)
    values = to_json(bench.measure_reference(steps=2))
    assert values["psnr_reference"] is None
    assert values["psnr_true"]["standard_error"] is None


def test_the_ceiling_is_that_of_evaluate(model, images):
    score, distance = reconstruction(model, images, batch=2)
    expected = evaluated(model, images, 3, steps=1).reconstruction["psnr"].mean
    # Another batch may move a pixel by one level of 255.
    assert score.mean == pytest.approx(expected, abs=0.02)
    assert distance > 0


def test_numbers_of_known_views_that_leave_nothing_to_do(model, images):
    with pytest.raises(InputError, match="--known 4: must be between 1 and 3"):
        QualityBench(model, images, IDS, 4, batch=3)
