"""PSNR and SSIM against values that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from dimvida.evaluation.metrics import CHUNK, psnr, ssim


def noise(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 16, 16), generator=generator, dtype=torch.uint8)


def test_psnr_of_a_constant_difference():
    dark = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    # An error of 51 levels is 0.2 of the range: 10 log10(1 / 0.04) = 13.979 dB.
    assert psnr(dark, dark + 51).item() == pytest.approx(10 * math.log10(25), abs=1e-5)


def test_psnr_is_per_picture():
    a = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    b = a.clone()
    b[0, 0, 0, 0] = 255  # one of 768 values is wrong by the whole range
    b[1] = 255
    assert psnr(a, b).tolist() == pytest.approx([10 * math.log10(768), 0.0], abs=1e-5)


def test_equal_pictures():
    images = noise(3)
    assert ssim(images, images).tolist() == [1.0, 1.0, 1.0]
    assert psnr(images, images).tolist() == [math.inf] * 3


def test_ssim_of_two_flat_pictures():
    # Without variance only the means count: (2 a b + c1) / (a^2 + b^2 + c1), c1 = 0.01^2.
    a = torch.full((1, 3, 16, 16), 51, dtype=torch.uint8)
    b = torch.full((1, 3, 16, 16), 204, dtype=torch.uint8)
    expected = (2 * 0.2 * 0.8 + 1e-4) / (0.04 + 0.64 + 1e-4)
    assert ssim(a, b).item() == pytest.approx(expected, abs=1e-4)


def test_many_pictures_are_as_each_alone():
    a, b = noise(CHUNK + 3), noise(CHUNK + 3, seed=1)
    for metric in (psnr, ssim):
        together = metric(a, b)
        assert together.shape == (CHUNK + 3,) and together.dtype == torch.float64
        for place in (0, CHUNK - 1, CHUNK, CHUNK + 2):
            one = metric(a[place : place + 1], b[place : place + 1])
            assert one.item() == pytest.approx(together[place].item(), abs=1e-6)


def test_they_are_those_of_torchmetrics():
    a, b = noise(5), noise(5, seed=1)
    b[2:] = (0.8 * a[2:] + 0.2 * b[2:]).to(torch.uint8)  # some alike, some not
    theirs = PeakSignalNoiseRatio(data_range=255.0), StructuralSimilarityIndexMeasure(data_range=255.0)
    for ours, metric in zip((psnr, ssim), theirs, strict=True):
        expected = []
        for x, y in zip(a, b, strict=True):
            metric.reset()
            metric.update(x[None].float(), y[None].float())
            expected.append(metric.compute().item())
        assert ours(a, b).tolist() == pytest.approx(expected, abs=1e-4)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\[N, C, H, W\]"):
        psnr(noise(2), noise(3))
