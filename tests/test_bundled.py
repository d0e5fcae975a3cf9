"""The bundled checkpoint and sample: small, trained, and of the data set they claim to be of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dimvida
from dimvida.data.batch import load_all
from dimvida.data.opening import open_source
from dimvida.data.sample import sample_input, sample_truth
from dimvida.data.shapes import CLASSES
from dimvida.models.checkpoint import BUNDLED
from dimvida.sampling.multiview import MultiViewModel


@pytest.fixture(scope="module")
def model() -> MultiViewModel:
    return dimvida.load("bundled")


@pytest.fixture(scope="module")
def truth(model: MultiViewModel) -> torch.Tensor:
    """uint8 [13, 4, 3, 64, 64]."""
    batch, bad, _ = load_all(open_source(sample_truth()), image_size=64, view_names=model.view_names)
    assert not bad and batch.known.all()
    return batch.images


def test_it_fits_in_the_package():
    sizes = [path.stat().st_size for path in BUNDLED.iterdir()]
    assert sum(sizes) <= 24_000_000 and max(sizes) <= 16_000_000


def test_it_says_where_it_comes_from(model: MultiViewModel):
    assert model.view_names == ("front", "right", "back", "left")
    assert model.classes == CLASSES
    provenance = model.config.provenance
    assert provenance["diffusion"]["steps"] > 1000
    names = []
    while provenance:  # of the last training, of the one whose weights it began with, and so on
        assert provenance["data"]["split"] == "train"
        names.append(provenance["data"]["name"])
        provenance = provenance.get("init")
    assert names == ["big", "big", *["big16.zip"] * 4, "small4.zip"]


def test_it_knows_where_its_views_are_and_was_trained_on_others_between_them(model: MultiViewModel):
    assert model.cameras == ((0, 30), (-90, 30), (-180, 30), (-270, 30))
    assert model.trained_cameras is not None
    assert sorted(-azimuth for azimuth, _ in model.trained_cameras) == [22.5 * step for step in range(16)]
    assert {elevation for _, elevation in model.trained_cameras} == {30.0}


def test_generated_views_are_of_the_same_object(model: MultiViewModel, truth: torch.Tensor):
    known = torch.zeros(len(truth), 4, dtype=torch.bool)
    known[:, 0] = True
    blank = torch.where(known[:, :, None, None, None], truth, 0).to(torch.uint8)
    generated = model.generate(blank, known, seed=0)[:, 1:].float()
    distance = (generated[:, None] - truth[None, :, 1:].float()).square().flatten(2).mean(2)  # [generated, true]
    nearest = distance.argmin(1)
    assert int((nearest == torch.arange(len(truth))).sum()) >= len(truth) - 2
    white = (255 - truth[:, 1:].float()).square().flatten(1).mean(1)
    assert bool((distance.diagonal() < white).all())


def test_more_known_views_bring_it_closer(model: MultiViewModel, truth: torch.Tensor):
    errors = []
    for count in (1, 2, 3):
        known = torch.zeros(len(truth), 4, dtype=torch.bool)
        known[:, :count] = True
        errors.append(float((model.generate(truth, known, seed=0)[:, 3].float() - truth[:, 3]).square().mean()))
    assert errors[0] > errors[1] > errors[2]


def test_backends_show_the_same_pictures(model: MultiViewModel, truth: torch.Tensor):
    known = torch.zeros(len(truth), 4, dtype=torch.bool)
    known[:, 0] = True
    eager, fused = (
        model.generate(truth, known, seed=3, backend=name, dtype=torch.float32) for name in ("eager", "fused")
    )
    assert int((eager.int() - fused.int()).abs().max()) <= 1


def test_the_sample_is_of_the_embedded_data_set(truth: torch.Tensor):
    pytest.importorskip("embreex")
    from dimvida.data.render import Renderer
    from dimvida.data.shapes import ShapesPlan, make_from_item

    renderer = Renderer()
    items = ShapesPlan(train_per_class=0, test_per_class=1, seed=0, classes=CLASSES).items()
    assert len(items) == len(truth)
    for item, views in zip(items, truth.permute(0, 1, 3, 4, 2).numpy(), strict=True):
        # Another processor may round a ray to the other side of an edge; that is a few levels of a few pixels.
        again = renderer.render(*make_from_item(item))
        assert np.abs(again.astype(int) - views).mean() < 0.1


def test_the_single_views_are_the_fronts(truth: torch.Tensor):
    batch, _, _ = load_all(open_source(sample_input()), image_size=64, view_names=("front", "right", "back", "left"))
    assert batch.known.tolist() == [[True, False, False, False]] * len(truth)
    assert torch.equal(batch.images[:, 0], truth[:, 0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_keeps_the_pictures(model: MultiViewModel, truth: torch.Tensor, dtype: torch.dtype):
    known = torch.zeros(len(truth), 4, dtype=torch.bool)
    known[:, 0] = True
    full, low = (
        model.generate(truth, known, solver="euler-maruyama", steps=20, backend="fused", dtype=each)[:, 1:].float()
        for each in (torch.float32, dtype)
    )
    error = (low - full).square().mean() / 255**2
    assert -10 * float(torch.log10(error)) >= 35
