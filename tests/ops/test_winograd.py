"""Winograd's convolution by images_to_tiles_ and tiles_to_images_."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from dimvida import ops
from dimvida.ops import reference, registration
from dimvida.sampling.fused_convolutions import _by_tiles, _tiled

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SIZES = st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 64, 70]))


def tiles_of(images: Tensor, more: int = 0) -> Tensor:
    """Room for the tiles of images, and some more."""
    batch, height, width, channels = images.shape
    return torch.full((36, batch * -(-height // 4) * -(-width // 4) + more, channels), torch.nan)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@settings(max_examples=30)
@given(sizes=SIZES, dtype=st.sampled_from(DTYPES), more=st.integers(0, 2))
def test_kernels_are_the_reference(device_of, sizes, dtype, more):
    images = normal(*sizes).to(dtype)
    expected = tiles_of(images, more)
    reference.images_to_tiles_(expected, images)
    count = expected.shape[1] - more
    assert expected[:, :count].isfinite().all() and expected[:, count:].isnan().all()
    got = tiles_of(images, more).to(device_of)
    ops.images_to_tiles_(got, images.to(device_of))
    torch.testing.assert_close(got.cpu(), expected, rtol=1e-5, atol=1e-5, equal_nan=True)

    made, back = torch.full_like(images, torch.nan), torch.full_like(images, torch.nan, device=device_of)
    reference.tiles_to_images_(made, expected)
    ops.tiles_to_images_(back, expected.to(device_of))
    near = {torch.float32: 1e-5, torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
    assert made.isfinite().all()
    torch.testing.assert_close(back.cpu(), made, rtol=near, atol=2e-4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_instruction_sets_and_threads_give_the_same_bits(dtype):
    images = normal(5, 11, 8, 70).to(dtype)
    tiles = tiles_of(images)
    registration.OPS["images_to_tiles_"].on_cpu(tiles, images, threads=1, simd="baseline")
    made = torch.full_like(images, torch.nan)
    registration.OPS["tiles_to_images_"].on_cpu(made, tiles, threads=1, simd="baseline")
    for simd in ops.build_info()["simd_supported"]:
        for threads in (1, 2):
            again, remade = tiles_of(images), torch.full_like(images, torch.nan)
            registration.OPS["images_to_tiles_"].on_cpu(again, images, threads=threads, simd=simd)
            registration.OPS["tiles_to_images_"].on_cpu(remade, tiles, threads=threads, simd=simd)
            assert torch.equal(again, tiles) and torch.equal(remade, made)


@pytest.mark.parametrize(("size", "channels", "made"), [((4, 8), 3, 5), ((7, 5), 2, 1), ((64, 64), 40, 36)])
def test_it_is_the_convolution(size, channels, made):
    x, weight = normal(3, *size, channels), normal(made, channels, 3, 3)
    exact = functional.conv2d(x.double().permute(0, 3, 1, 2), weight.double(), padding=1).permute(0, 2, 3, 1)
    got = _by_tiles(x, _tiled(weight.double()))
    assert (got - exact).abs().max() < 2e-5 * exact.abs().max()  # 36 numbers of up to 100 times the size cancel
    assert torch.equal(_by_tiles(x[:1], _tiled(weight.double()))[0], got[0]) or size != (64, 64)


def test_opcheck(device):
    images = torch.zeros(2, 4, 6, 3, device=device)
    torch.library.opcheck(torch.ops.dimvida.images_to_tiles_.default, (tiles_of(images).to(device), images))
    tiles = torch.zeros(36, 4, 3, device=device)
    torch.library.opcheck(torch.ops.dimvida.tiles_to_images_.default, (images, tiles))


@pytest.mark.parametrize(
    ("tiles", "images", "error", "message"),
    [
        (torch.zeros(36, 4, 3), torch.zeros(2, 4, 6, 3).double(), TypeError, "images must be float32"),
        (torch.zeros(36, 4, 3).half(), torch.zeros(2, 4, 6, 3), TypeError, "tiles must be float32"),
        (torch.zeros(36, 4, 3), torch.zeros(4, 6, 3), ValueError, "must have shapes"),
        (torch.zeros(36, 3, 3), torch.zeros(2, 4, 6, 3), ValueError, "at least 4 rows, not 3"),
        (torch.zeros(35, 4, 3), torch.zeros(2, 4, 6, 3), ValueError, "tiles must have shape"),
        (torch.zeros(36, 4, 2), torch.zeros(2, 4, 6, 3), ValueError, "tiles must have shape"),
        (torch.zeros(36, 4, 6)[..., ::2], torch.zeros(2, 4, 6, 3), ValueError, "tiles must be contiguous"),
    ],
)
def test_what_does_not_fit_is_refused(tiles, images, error, message):
    for backend in (ops, reference):
        with pytest.raises(error, match=message):
            backend.images_to_tiles_(tiles, images)
        with pytest.raises(error, match=message):
            backend.tiles_to_images_(images, tiles)


def test_memory_that_is_shared_is_refused():
    memory = torch.zeros(36 * 4 * 3)
    with pytest.raises(ValueError, match="tiles shares memory with images"):
        ops.images_to_tiles_(memory.view(36, 4, 3), memory[:144].view(2, 4, 6, 3))
