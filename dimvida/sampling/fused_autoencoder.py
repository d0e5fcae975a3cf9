"""The halves of an autoencoder from bytes and to bytes: convolutions of the library, and between them the package's
kernels, each once over memory.

How weights are rewritten stands in ``fused_convolutions``. Besides, the standardisation of latents is part of the first
and last linear map, the 0.1 of a residual part of its last convolution, and a 1 x 1 shortcut stands before the
upsampling. 1/255 is part of the first convolution, and the last kernel rounds to bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dimvida import ops
from dimvida.models.autoencoder import LEAKY_SLOPE, RESIDUAL_SCALE, GridResidual, PoolingResidual
from dimvida.sampling.fused_convolutions import (
    Convolution,
    DeferredSum,
    Norm,
    after_unshuffle,
    after_upsampling,
    before_shuffle,
    four_pixels,
    of_layer,
    of_patches,
)


class Half(nn.Module):
    """Half of an autoencoder with the standardisation of latents.

    Args:
        layers: The encoder or the decoder.
        mean, std: Mean and deviation that latents are standardised by, float [D].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layers: nn.Sequential, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)


@dataclass(frozen=True, slots=True)
class PoolingBlock:
    """A ``PoolingResidual``, and the upsampling before it where there is one."""

    conv1: Convolution
    conv2: Convolution
    shortcut: Convolution | None

    @classmethod
    def of(cls, block: PoolingResidual, dtype: torch.dtype, *, upsampled: bool) -> PoolingBlock:
        """That of a layer."""
        return cls(
            (after_upsampling if upsampled else of_layer)(block.conv1, dtype),
            of_layer(block.conv2, dtype, RESIDUAL_SCALE),
            of_layer(block.shortcut, dtype) if isinstance(block.shortcut, nn.Conv2d) else None,
        )

    def __call__(self, x: DeferredSum) -> DeferredSum:
        activated, total = x.activated(LEAKY_SLOPE, total=True)
        u, _ = self.conv1(activated).activated(LEAKY_SLOPE)
        return self.conv2(u, total if self.shortcut is None else self.shortcut.made(total))


@dataclass(frozen=True, slots=True)
class GridBlock:
    """The norms and convolutions of a ``GridResidual``, in their order."""

    norm1: Norm
    conv1: Convolution
    norm2: Norm
    conv2: Convolution

    @classmethod
    def of(cls, block: GridResidual, dtype: torch.dtype) -> GridBlock:
        """That of a layer."""
        norms = Norm.of(block.norm1), Norm.of(block.norm2)
        return cls(norms[0], of_layer(block.conv1, dtype), norms[1], of_layer(block.conv2, dtype))

    def __call__(self, x: DeferredSum) -> DeferredSum:
        normalised, total = x.normalised(self.norm1, total=True)
        u, _ = self.conv1(normalised).normalised(self.norm2)
        return self.conv2(u, total)


class Encoder:
    """Bytes to standardised latents.

    Args:
        half: The encoder and the standardisation.
        dtype: What is multiplied in, and what stands between convolutions.
    """

    def __init__(self, half: Half, dtype: torch.dtype) -> None:
        self.dtype = dtype
        layers = deque(half.layers)
        self._patch = layers.popleft().downscale_factor if isinstance(layers[0], nn.PixelUnshuffle) else 1
        self._first = of_patches(layers.popleft(), self._patch, dtype)
        self._steps: list[Callable[[DeferredSum], DeferredSum]] = []
        while len(layers) > 2:
            layer = layers.popleft()
            if isinstance(layer, PoolingResidual):
                self._steps.append(PoolingBlock.of(layer, dtype, upsampled=False))
            elif isinstance(layer, GridResidual):
                self._steps.append(GridBlock.of(layer, dtype))
            elif isinstance(layer, nn.PixelUnshuffle):
                self._steps.append(_Unshuffled(after_unshuffle(layers.popleft(), dtype)))
            else:
                self._steps.append(_Pooled(layer))
        head = _GridLatents if isinstance(layers[0], nn.Conv2d) else _DenseLatents
        self._last = head(half, dtype)

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] to float32 [N, D]."""
        count, colours, height, width = images.shape
        shape = count, height // self._patch, width // self._patch, self._patch**2 * colours
        patches = torch.empty(shape, dtype=self.dtype, device=images.device)
        ops.images_to_patches_(patches, images)
        x = self._first(patches)
        for step in self._steps:
            x = step(x)
        return self._last(x.taken())


class Decoder:
    """Standardised latents to bytes.

    Args:
        half: The decoder and the standardisation.
        dtype: What is multiplied in, and what stands between convolutions.
    """

    def __init__(self, half: Half, dtype: torch.dtype) -> None:
        layers = deque(half.layers)
        self._first = _OfGrid(half, dtype) if isinstance(layers[0], nn.Unflatten) else _OfDense(half, dtype)
        layers.popleft()
        layers.popleft()
        self._steps: list[Callable[[DeferredSum], DeferredSum]] = []
        upsampled = False
        while isinstance(layers[0], (PoolingResidual, GridResidual, nn.Upsample, nn.Conv2d)):
            layer = layers.popleft()
            if isinstance(layer, PoolingResidual):
                self._steps.append(PoolingBlock.of(layer, dtype, upsampled=upsampled))
            elif isinstance(layer, GridResidual):
                self._steps.append(GridBlock.of(layer, dtype))
            elif isinstance(layer, nn.Conv2d):
                shuffle = layers.popleft().upscale_factor
                self._steps.append(_Unshuffled(before_shuffle(layer, shuffle, dtype)))
            upsampled = isinstance(layer, nn.Upsample)
        activation, last = layers.popleft(), layers.popleft()
        self._slope = activation.negative_slope if isinstance(activation, nn.LeakyReLU) else None
        self._last = before_shuffle(last, layers[0].upscale_factor, dtype) if layers else four_pixels(last, dtype)

    def __call__(self, latents: Tensor, images: Tensor, finite: Tensor) -> None:
        """float [N, D] into uint8 [N, H, W, C], and into bool [N] whether an image's numbers were finite."""
        x = self._first(latents)
        for step in self._steps:
            x = step(x)
        x = self._last(x.activated(self._slope)[0])
        ops.patches_to_images_(images, finite, x.made, x.bias)


FEWEST_ROWS = 16


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [N, I] times weight [O, I], plus bias [O].

    Of fewer rows libraries add in another order, and last bits of a picture would tell how many were made with it.
    """
    if len(x) >= FEWEST_ROWS:
        return functional.linear(x, weight, bias)
    return functional.linear(functional.pad(x, (0, 0, 0, FEWEST_ROWS - len(x))), weight, bias)[: len(x)]


@dataclass(frozen=True, slots=True)
class _Unshuffled:
    """A convolution of a sum as it is."""

    conv: Convolution

    def __call__(self, x: DeferredSum) -> DeferredSum:
        return self.conv(x.taken())


@dataclass(frozen=True, slots=True)
class _Pooled:
    """A pooling layer."""

    layer: nn.AvgPool2d

    def __call__(self, x: DeferredSum) -> DeferredSum:
        pooled = self.layer(x.taken().permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()
        return DeferredSum(pooled, x.bias.new_zeros(pooled.shape[3]))


class _OfDense:
    """The first linear map of a decoder, its rows in the order of channels last."""

    def __init__(self, half: Half, dtype: torch.dtype) -> None:
        linear, self._shape = half.layers[0], half.layers[1].unflattened_size
        weight, channels = linear.weight.double(), self._shape[0]
        bias = linear.bias.double() + weight @ half.mean.double()

        def reordered(rows: Tensor) -> Tensor:
            return rows.unflatten(0, (channels, -1)).transpose(0, 1).flatten(0, 1)

        self._weight = reordered(weight * half.std.double()).to(dtype)
        self._bias = reordered(bias).to(dtype)
        self._nothing = half.mean.new_zeros(channels, dtype=torch.float32)

    def __call__(self, latents: Tensor) -> DeferredSum:
        channels, height, width = self._shape
        made = _product(latents.to(self._weight.dtype), self._weight, self._bias)
        return DeferredSum(made.view(-1, height, width, channels), self._nothing)


class _OfGrid:
    """The first convolution of a decoder. Its padding stands for raw latents of 0, so these are made first."""

    def __init__(self, half: Half, dtype: torch.dtype) -> None:
        self._shape, self._conv = half.layers[0].unflattened_size, of_layer(half.layers[1], dtype)
        self._mean, self._std = half.mean.float(), half.std.float()

    def __call__(self, latents: Tensor) -> DeferredSum:
        raw = (latents.float() * self._std + self._mean).unflatten(1, self._shape).permute(0, 2, 3, 1)
        return self._conv(raw.to(self._conv.weight.dtype).contiguous())


class _DenseLatents:
    """The last linear map of an encoder, its columns in the order of channels last."""

    def __init__(self, half: Half, dtype: torch.dtype) -> None:
        linear, channels = half.layers[-1], half.layers[-3].conv2.out_channels
        mean, std = half.mean.double(), half.std.double()
        weight = linear.weight.double().unflatten(1, (channels, -1)).transpose(1, 2).flatten(1)
        self._weight = (weight / std[:, None]).to(dtype)
        self._bias = ((linear.bias.double() - mean) / std).float()

    def __call__(self, x: Tensor) -> Tensor:
        return _product(x.flatten(1), self._weight).float() + self._bias


class _GridLatents:
    """The last convolution of an encoder, and the order of latents."""

    def __init__(self, half: Half, dtype: torch.dtype) -> None:
        self._conv, mean, std = of_layer(half.layers[-2], dtype), half.mean.double(), half.std.double()
        bias = half.layers[-2].bias.double()
        self._scale = (1 / std).float()
        self._shift = ((bias.repeat_interleave(len(mean) // len(bias)) - mean) / std).float()

    def __call__(self, x: Tensor) -> Tensor:
        raw = self._conv.made(x).float().permute(0, 3, 1, 2).flatten(1)
        return raw * self._scale + self._shift
