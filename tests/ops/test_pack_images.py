"""Packing of images to bytes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dimvida import ops
from dimvida.ops import reference, registration

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@given(data=st.data())
def test_kernels_agree_with_the_reference(device_of, data):
    sizes = [data.draw(st.sampled_from([0, 1, 2, 3])), data.draw(st.sampled_from([1, 3, 4]))]
    sizes += [data.draw(st.sampled_from([0, 1, 5, 8])), data.draw(st.sampled_from([1, 7, 16, 1100]))]
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    images = (torch.randn(sizes, generator=generator) * 0.7 + 0.5).to(data.draw(st.sampled_from(DTYPES)))
    layout = data.draw(st.sampled_from(["contiguous", "channels last", "reversed axes", "every other"]))
    if layout == "channels last":
        images = images.contiguous(memory_format=torch.channels_last)
    elif layout == "reversed axes":
        images = images.transpose(2, 3)
    elif layout == "every other":
        images = images[:, :, :, ::2]
    got = ops.pack_images(images.to(device_of))
    assert got.is_contiguous() and got.dtype == torch.uint8
    assert torch.equal(got.cpu(), reference.pack_images(images))


@pytest.mark.parametrize("simd", ops.build_info()["simd_supported"])
def test_every_level_and_tie_on_every_instruction_set(simd: str):
    levels = torch.arange(256, dtype=torch.float64)
    exact = (levels / 255).float()[None, None, None]  # [1, 1, 1, 256]
    assert torch.equal(registration.OPS["pack_images"].on_cpu(exact, simd=simd).flatten(), levels.to(torch.uint8))
    ties = torch.tensor([0.5, 1.5, 2.5]).div(255)[None, None, None]
    rounded = (ties * 255).round().to(torch.uint8)  # torch rounds ties to even, where the product is one
    assert torch.equal(registration.OPS["pack_images"].on_cpu(ties, simd=simd).flatten(), rounded.flatten())


def test_what_is_no_brightness_is_clamped(device):
    values = torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0, 1.0000001, -1e-9, 3e38], device=device)
    got = ops.pack_images(values[None, None, None])
    assert got.flatten().tolist() == [0, 255, 0, 0, 255, 0, 255]


def test_opcheck_and_compilation(device):
    images = torch.rand(2, 3, 4, 5, device=device)
    torch.library.opcheck(torch.ops.dimvida.pack_images.default, (images,))
    packed = torch.compile(lambda x: ops.pack_images(x * 1.0) + 1, fullgraph=True, backend="aot_eager")(images)
    assert torch.equal(packed, ops.pack_images(images) + 1)


@pytest.mark.parametrize(
    ("images", "error"),
    [
        (torch.zeros(3, 4, 5), ValueError),
        (torch.zeros(1, 3, 4, 5, dtype=torch.float64), TypeError),
        (torch.zeros(1, 3, 4, 5, dtype=torch.uint8), TypeError),
        (torch.zeros(1, 3, 4, 5, requires_grad=True), RuntimeError),
    ],
)
def test_what_does_not_fit_is_refused(images: torch.Tensor, error: type[Exception]):
    for backend in (ops.pack_images, reference.pack_images):
        with pytest.raises(error):
            backend(images)
