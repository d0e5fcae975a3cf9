"""Bytes to patches of numbers and back: images_to_patches_ and patches_to_images_."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dimvida import ops
from dimvida.ops import reference, registration

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SIZES = st.tuples(
    st.integers(0, 3), st.sampled_from([1, 3, 4]), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5)
)


@settings(max_examples=40)
@given(sizes=SIZES, dtype=st.sampled_from(DTYPES), layout=st.sampled_from(["planes", "channels last", "every other"]))
def test_bytes_become_patches(device_of, sizes, dtype, layout):
    batch, colours, patch, rows, columns = sizes
    images = torch.randint(0, 256, (batch, colours, patch * rows, patch * columns * 2), dtype=torch.uint8)
    images = images[..., ::2] if layout == "every other" else images[..., : patch * columns].contiguous()
    if layout == "channels last":
        images = images.contiguous(memory_format=torch.channels_last)
    expected = torch.empty(batch, rows, columns, patch * patch * colours, dtype=dtype)
    reference.images_to_patches_(expected, images)
    got = torch.full_like(expected, torch.nan, device=device_of)
    ops.images_to_patches_(got, images.to(device_of))
    assert torch.equal(got.cpu(), expected)
    for simd in ops.build_info()["simd_supported"]:
        again = torch.full_like(expected, torch.nan)
        registration.OPS["images_to_patches_"].on_cpu(again, images, threads=2, simd=simd)
        assert torch.equal(again, expected)


@settings(max_examples=40)
@given(sizes=SIZES, dtype=st.sampled_from(DTYPES), bad=st.sampled_from([None, torch.nan, torch.inf, -torch.inf]))
def test_patches_become_bytes(device_of, sizes, dtype, bad):
    batch, colours, patch, rows, columns = sizes
    generator = torch.Generator().manual_seed(batch + 7 * colours + patch)
    patches = (torch.randn(batch, rows, columns, patch * patch * colours, generator=generator) * 0.7 + 0.5).to(dtype)
    if bad is not None and batch:
        patches[-1, -1, -1, -1] = bad
    bias = torch.randn(patches.shape[3], generator=generator)
    shape = (batch, patch * rows, patch * columns, colours)
    expected, finite = torch.empty(shape, dtype=torch.uint8), torch.empty(batch, dtype=torch.bool)
    reference.patches_to_images_(expected, finite, patches, bias)
    assert finite.tolist() == [True] * (batch - 1) + [bad is None] * min(batch, 1)
    got, got_finite = torch.empty_like(expected, device=device_of), torch.empty_like(finite, device=device_of)
    ops.patches_to_images_(got, got_finite, patches.to(device_of), bias.to(device_of))
    assert torch.equal(got.cpu(), expected) and torch.equal(got_finite.cpu(), finite)
    for simd in ops.build_info()["simd_supported"]:
        again, again_finite = torch.empty_like(expected), torch.empty_like(finite)
        registration.OPS["patches_to_images_"].on_cpu(again, again_finite, patches, bias, threads=2, simd=simd)
        assert torch.equal(again, expected) and torch.equal(again_finite, finite)


def test_there_and_back():
    images = torch.randint(0, 256, (2, 3, 8, 12), dtype=torch.uint8)
    patches = torch.empty(2, 2, 3, 48)
    ops.images_to_patches_(patches, images)
    unshuffled = torch.nn.functional.pixel_unshuffle(images, 4).unflatten(1, (3, 16)).transpose(1, 2).flatten(1, 2)
    assert torch.equal(patches, unshuffled.permute(0, 2, 3, 1).float())
    back, finite = torch.empty(2, 8, 12, 3, dtype=torch.uint8), torch.empty(2, dtype=torch.bool)
    ops.patches_to_images_(back, finite, patches / 255, torch.zeros(48))
    assert torch.equal(back.permute(0, 3, 1, 2), images) and finite.all()


def test_opcheck(device):
    images = torch.zeros(2, 3, 4, 6, dtype=torch.uint8, device=device)
    patches = torch.zeros(2, 2, 3, 12, device=device)
    torch.library.opcheck(torch.ops.dimvida.images_to_patches_.default, (patches, images))
    back = torch.zeros(2, 4, 6, 3, dtype=torch.uint8, device=device), torch.ones(2, dtype=torch.bool, device=device)
    torch.library.opcheck(torch.ops.dimvida.patches_to_images_.default, (*back, patches, patches[0, 0, 0].clone()))


@pytest.mark.parametrize(
    ("patches", "images", "error", "message"),
    [
        (torch.zeros(2, 2, 3, 12), torch.zeros(2, 3, 4, 6), TypeError, "images must be uint8"),
        (torch.zeros(2, 2, 3, 12).double(), torch.zeros(2, 3, 4, 6).byte(), TypeError, "patches must be float32"),
        (torch.zeros(2, 2, 12), torch.zeros(2, 3, 4, 6).byte(), ValueError, "must have shapes"),
        (torch.zeros(2, 2, 3, 12), torch.zeros(2, 3, 4, 7).byte(), ValueError, "images must have shape"),
        (torch.zeros(2, 3, 3, 12), torch.zeros(2, 3, 4, 6).byte(), ValueError, "patches must have 4 / 2 rows"),
        (torch.zeros(2, 2, 3, 11), torch.zeros(2, 3, 4, 6).byte(), ValueError, "11 channels are not"),
        (torch.zeros(1, 1, 1, 1200), torch.zeros(1, 3, 20, 20).byte(), ValueError, "at most 1024 numbers"),
    ],
)
def test_what_does_not_fit_is_refused(patches, images, error, message):
    for backend in (ops, reference):
        with pytest.raises(error, match=message):
            backend.images_to_patches_(patches, images)
    if message not in ("images must be uint8", "images must have shape"):
        packed = torch.zeros(images.permute(0, 2, 3, 1).shape, dtype=torch.uint8)
        with pytest.raises(error, match=message):
            ops.patches_to_images_(packed, torch.zeros(len(packed)).bool(), patches, torch.zeros(patches.shape[-1]))


def test_memory_that_is_shared_is_refused():
    memory = torch.zeros(2 * 4 * 6 * 3 * 4)
    images, patches = memory.view(torch.uint8)[:144].view(2, 3, 4, 6), memory[:144].view(2, 2, 3, 12)
    with pytest.raises(ValueError, match="patches shares memory with images"):
        ops.images_to_patches_(patches, images)
    finite = torch.zeros(2, dtype=torch.bool)
    with pytest.raises(ValueError, match="images shares memory with patches"):
        ops.patches_to_images_(images.view(2, 4, 6, 3), finite, patches, torch.zeros(12))
