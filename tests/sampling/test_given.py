"""What callers give: views by mask or by name, and what is said of tensors that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import dimvida
from dimvida.errors import InputError

IMAGES = torch.randint(0, 256, (3, 2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> dimvida.MultiViewModel:
    return dimvida.load(tiny_checkpoint)


def by_mask(model, *, right: torch.Tensor | None = None, left: torch.Tensor | None = None) -> torch.Tensor:
    views, known = torch.zeros(3, 4, 3, 16, 16, dtype=torch.uint8), torch.zeros(3, 4, dtype=torch.bool)
    for place, images in ((1, right), (3, left)):
        if images is not None:
            views[:, place], known[:, place] = images, True
    return model.generate(views, known, seed=1)


def test_one_name(model):
    expected = by_mask(model, right=IMAGES[:, 0])
    everything = torch.full((3, 4, 3, 16, 16), 9, dtype=torch.uint8)
    everything[:, 1] = IMAGES[:, 0]
    for views in (IMAGES[:, 0], IMAGES[:, :1], everything):
        for known in ("right", ["right"], ("right",)):
            assert torch.equal(model.generate(views, known, seed=1), expected)


def test_several_names_in_the_order_of_the_caller(model):
    expected = by_mask(model, right=IMAGES[:, 1], left=IMAGES[:, 0])
    assert torch.equal(model.generate(IMAGES, ["left", "right"], seed=1), expected)
    assert torch.equal(model.generate(IMAGES.flip(1), ("right", "left"), seed=1), expected)
    assert torch.equal(model.generate(expected, ("left", "right"), seed=1), expected)


def test_calling_the_model_generates(model):
    assert torch.equal(model(IMAGES, ["right", "left"], seed=1), model.generate(IMAGES, ["right", "left"], seed=1))


def test_no_name_is_no_known_view_and_all_names_leave_nothing_to_make(model):
    views = torch.zeros(3, 4, 3, 16, 16, dtype=torch.uint8)
    assert torch.equal(model.generate(views, (), seed=1), by_mask(model))
    assert torch.equal(model.generate(views + 7, model.view_names), views + 7)
    with pytest.raises(ValueError, match="model's order: front, right, back, left"):
        model.generate(views, model.view_names[::-1])


def test_names_that_do_not_fit(model):
    with pytest.raises(InputError, match="no view 'top'; it has front, right, back, left"):
        model.generate(IMAGES[:, 0], "top")
    with pytest.raises(InputError, match="named twice: left, left"):
        model.generate(IMAGES, ("left", "left"))
    with pytest.raises(ValueError, match=r"\[B, 4, 3, 16, 16\], or \[B, 2, 3, 16, 16\] of the named views"):
        model.generate(IMAGES[:, 0], ("left", "right"))
    with pytest.raises(ValueError, match=r"or \[B, 3, 16, 16\] of the named view, not torch.uint8 \[3, 16, 16\]"):
        model.generate(IMAGES[0, 0], "left")
    with pytest.raises(ValueError, match=r"must be uint8 .*not torch.float32"):
        model.generate(IMAGES[:, 0].float(), "left")


def test_arrays_and_lists_are_told_how_to_become_tensors(model):
    known = torch.tensor([[True, False, False, False]]).expand(3, -1)
    views = torch.zeros(3, 4, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"views must be a torch tensor.*numpy.ndarray; torch.as_tensor\(views\)"):
        model.generate(views.numpy(), known)
    with pytest.raises(TypeError, match=r"known must be a bool tensor \[B, 4\], or names of front.*ndarray"):
        model.generate(views, known.numpy())
    with pytest.raises(TypeError, match=r"known must be a bool tensor \[B, 4\]"):
        model.generate(views, known.tolist())
    with pytest.raises(TypeError, match=r"sample_ids must be a torch tensor, int64 \[3\]"):
        model.generate(views, known, sample_ids=np.arange(3))
    with pytest.raises(TypeError, match=r"images must be a torch tensor, uint8 or float \[..., 3, 16, 16\]"):
        model.encode(views.numpy())
    with pytest.raises(TypeError, match=r"latents must be a torch tensor, float \[..., 8\], not list"):
        model.decode([0.0] * 8)


def test_channels_last_is_told_how_to_become_channels_first(model):
    wrong = IMAGES.movedim(2, -1)
    with pytest.raises(ValueError, match=r"channels come first: images.movedim\(-1, -3\)"):
        model.encode(wrong)
    with pytest.raises(ValueError, match=r"channels come first: views.movedim\(-1, -3\)"):
        model.generate(wrong, ("left", "right"))
    assert torch.equal(model.encode(wrong.movedim(-1, -3)), model.encode(IMAGES))
