"""Views in any form that Python has of images are the same views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import dimvida
from dimvida.errors import InputError
from dimvida.generation.turntable import read_known
from dimvida.sampling.given import fit_held

RNG = np.random.default_rng(3)
PICTURES = [Image.fromarray(RNG.integers(0, 256, (size, 20, 3), np.uint8)) for size in (16, 20, 31, 40)]
FITTED = torch.stack([torch.from_numpy(fit_held(picture, "a", 3, 16).copy()).permute(2, 0, 1) for picture in PICTURES])
FRONTS, LEFTS = PICTURES[:2], PICTURES[2:]


def test_one_name(model):
    expected = model.generate(FITTED[:2], "front", seed=1)
    for views in (FRONTS, tuple(map(np.asarray, FRONTS)), [FITTED[0], FRONTS[1]]):
        assert torch.equal(model(views, "front", seed=1), expected)
    alone = model.generate(FITTED[:1], "front", seed=1)
    for view in (FRONTS[0], np.asarray(FRONTS[0]), FITTED[0], [FRONTS[0]]):
        assert torch.equal(model(view, "front", seed=1), alone)
        assert torch.equal(model(view, ["front"], seed=1), alone)


def test_several_names(model):
    expected = model.generate(FITTED.reshape(2, 2, 3, 16, 16).transpose(0, 1), ["front", "left"], seed=1)
    assert torch.equal(model({"front": FRONTS, "left": LEFTS}, seed=1), expected)
    assert torch.equal(model({"left": LEFTS, "front": FITTED[:2]}, seed=1), expected)
    assert torch.equal(model([[FRONTS[0], LEFTS[0]], [FRONTS[1], LEFTS[1]]], ["front", "left"], seed=1), expected)
    first = model([FRONTS[0], LEFTS[0]], ["front", "left"], seed=1)
    assert torch.equal(first, model({"front": FRONTS[0], "left": LEFTS[0]}, seed=1))
    assert torch.equal(first[0, [0, 3]], FITTED[[0, 2]])


def test_tensors_of_another_size_type_or_library(model):
    images = torch.randint(0, 256, (2, 4, 3, 20, 24), dtype=torch.uint8)
    known = torch.tensor([[True, False, False, False], [False, True, True, False]])
    arrays = images.movedim(2, -1).numpy()
    small = torch.stack([torch.from_numpy(fit_held(row, "a", 3, 16).copy()) for row in arrays.reshape(-1, 20, 24, 3)])
    expected = model.generate(small.movedim(-1, 1).reshape(2, 4, 3, 16, 16), known, seed=1)
    for views in (images, arrays, images / 255, arrays / 255, (images / 255).double()):
        assert torch.equal(model(views, known, seed=1), expected)
    assert torch.equal(model(arrays, known.numpy(), seed=1), expected)
    missing = torch.where(known[:, :, None, None, None], images / 255, torch.nan)
    assert torch.equal(model(missing, known, seed=1), expected)  # what is not known is not looked at


def test_gray_and_alpha(model):
    gray = np.asarray(PICTURES[1].convert("L"))
    expected = model(Image.fromarray(gray), "front")
    assert torch.equal(model(gray, "front"), expected)
    assert torch.equal(model(torch.from_numpy(gray.copy()), "front"), expected)
    assert torch.equal(model(torch.from_numpy(gray.copy())[None], "front"), expected)
    alpha = np.dstack([np.asarray(PICTURES[1]), gray])
    assert torch.equal(model(alpha, "front"), model(Image.fromarray(alpha), "front"))
    assert not torch.equal(model(alpha, "front"), model(PICTURES[1], "front"))


def test_turntables_and_cameras(camera_checkpoint, tmp_path):
    model = dimvida.load(camera_checkpoint)
    path = tmp_path / "a.png"
    size = model.image_size
    Image.fromarray(RNG.integers(0, 256, (size + 9, size + 3, 4), np.uint8)).save(path)
    read, _ = read_known([path], model)
    assert torch.equal(model.turntable(Image.open(path), 3), model.turntable(read, 3))
    name = model.view_names[0]
    assert torch.equal(model(Image.open(path), name, cameras=[(10, 5)]), model(read, name, cameras=[(10, 5)]))


@pytest.mark.parametrize(
    ("views", "known", "kind", "said"),
    [
        (FRONTS, None, TypeError, "known is missing: the name of the view given, several names, or a bool mask"),
        ({"front": FRONTS}, "front", TypeError, "leave out known"),
        ({"front": FRONTS, "left": LEFTS[0]}, None, ValueError, "not 2 of 'front', 1 of 'left'"),
        ({"top": FRONTS}, None, InputError, "no view 'top'; it has front, right, back, left"),
        ({}, None, ValueError, "an empty dict"),
        ([], "front", ValueError, "an empty list"),
        ("front.png", "front", TypeError, r"views: images are a picture of Pillow, an array .* not str"),
        ([FRONTS[0], 7], "front", TypeError, r"views\[1\]: images are .* not int"),
        ([FRONTS, LEFTS[:1]], ["front", "left"], ValueError, "entries of different lengths, 2, 1"),
        (FRONTS, ["front", "left", "back"], ValueError, r"\[B, 3, 3, 16, 16\] of the named views, not .* \[2, 3"),
        (FITTED.float(), "front", ValueError, r"views\[0\]: float images are in \[0, 1\]; these go from 0 to 255"),
        (FITTED.numpy(), "front", ValueError, r"views\[0\]: .*channels come last in an array, first in a tensor"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_with_what_is_taken(model, views, known, kind, said):
    with pytest.raises(kind, match=said):
        model(views, known)
