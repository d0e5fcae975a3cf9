"""Convolutions between images with channels last, and their weights rewritten so that less is multiplied and moved.

All rewritings are exact in real numbers and computed in float64:

- Nearest upsampling by 2 and a 3 x 3 convolution are, for each of the four pixels that come of one, a 2 x 2 convolution
  of what was there before: 4/9 of the products. The four are one convolution with four blocks of channels.
- A pixel shuffle after a convolution is an order of its channels, as the kernels between convolutions read them; one
  before it is an order of its input, and before a 1 x 1 convolution a 2 x 2 convolution with stride 2.
- A 3 x 3 convolution in float32 on a CPU multiplies a quarter of its products (Winograd's form), as matrices.
- A convolution to few channels makes four pixels at once, by 4 x 4 weights with stride 2: most of what a processor
  multiplies for 3 channels is padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dimvida import ops

FEWEST_TILED = 32
"""Channels of convolutions in Winograd's form, at least: of fewer, making tiles takes as long as is won."""

TILE_NUMBERS = 2**19
"""Numbers of tiles that are made at a time."""


@dataclass(frozen=True, slots=True)
class Norm:
    """A group norm: weight and bias float32 [C]."""

    weight: Tensor
    bias: Tensor
    groups: int
    eps: float

    @classmethod
    def of(cls, norm: nn.GroupNorm) -> Norm:
        """That of a layer."""
        return cls(norm.weight.float(), norm.bias.float(), norm.num_groups, norm.eps)


@dataclass(slots=True)
class DeferredSum:
    """A sum that nobody has taken yet: what a convolution made, its bias and a residual.

    Attributes:
        made: [N, h, w, s s C], without the bias; see ``ops.residual_act_``.
        bias: float32 [s s C].
        residual: [N, H / u, W / u, C] or None.
        scale: Factor s by which the image of made is smaller than the sum.
        overlap: 1 where made has a row and a column more than its blocks, else 0.
    """

    made: Tensor
    bias: Tensor
    residual: Tensor | None = None
    scale: int = 1
    overlap: int = 0

    def activated(self, slope: float | None, *, total: bool = False) -> tuple[Tensor, Tensor | None]:
        """leaky(sum), or silu(sum) where ``slope`` is None, [N, H, W, C]; and the sum itself, if asked for."""
        out, kept = self._places(total)
        ops.residual_act_(out, self.made, self.bias, self.residual, kept, slope)
        return out, kept

    def taken(self) -> Tensor:
        """The sum itself, without an activation, [N, H, W, C]."""
        return self.activated(1.0)[0]

    def normalised(self, norm: Norm, *, total: bool = False) -> tuple[Tensor, Tensor | None]:
        """silu(norm(sum)), and the sum itself, if asked for."""
        out, kept = self._places(total)
        ops.residual_norm_silu_(
            out, self.made, self.bias, norm.weight, norm.bias, norm.groups, norm.eps, self.residual, kept
        )
        return out, kept

    def _places(self, total: bool) -> tuple[Tensor, Tensor | None]:
        """Memory for results: what is read for the last time and has their form, else new memory."""
        count, height, width, channels = self.made.shape
        height, width = self.scale * (height - self.overlap), self.scale * (width - self.overlap)
        shape = (count, height, width, channels // self.scale**2)
        free = [tensor for tensor in (self.made, self.residual) if tensor is not None and tensor.shape == shape]
        places = [*free, *(self.made.new_empty(shape) for _ in range(1 + total - len(free)))]
        return places[0], places[1] if total else None


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution whose bias is added by who takes the result.

    Attributes:
        weight: [O, I, k, k], channels last, in the dtype that is multiplied in.
        bias: float32 [O].
        stride, padding: Of the convolution, in pixels, the same in both directions.
        scale: How many pixels in each direction come of one, in blocks of channels.
        tiled: Weights of Winograd's form, float32 [36, I, O]; None where the library's own convolution is faster.
    """

    weight: Tensor
    bias: Tensor
    stride: int = 1
    padding: int = 0
    scale: int = 1
    tiled: Tensor | None = None

    @classmethod
    def of(
        cls, weight: Tensor, bias: Tensor, dtype: torch.dtype, stride: int = 1, padding: int = 0, scale: int = 1
    ) -> Convolution:
        """That of float64 weights [O, I, k, k] and biases [O]."""
        tiled = _tiled(weight) if stride == padding == 1 and _tiles_are_faster(weight, dtype) else None
        weight = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        return cls(weight, bias.float(), stride, padding, scale, tiled)

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> DeferredSum:
        """Convolve x [N, h, w, I]; ``residual`` is added to the result when that is taken."""
        overlap = int(self.scale == 2 and self.padding == 1 and self.weight.shape[-1] == 2)
        return DeferredSum(self.made(x), self.bias, residual, self.scale, overlap)

    def made(self, x: Tensor) -> Tensor:
        """The result without its bias."""
        if self.tiled is not None:
            return _by_tiles(x, self.tiled)
        made = functional.conv2d(x.permute(0, 3, 1, 2), self.weight, None, self.stride, self.padding)
        return made.permute(0, 2, 3, 1).contiguous()  # a copy only where a library has turned the layout


def _by_tiles(x: Tensor, weight: Tensor) -> Tensor:
    """The 3 x 3 convolution of x [N, H, W, I] in Winograd's form, some images at a time: their tiles stay in caches."""
    (count, height, width, channels), made_channels = x.shape, weight.shape[2]
    made = x.new_empty(count, height, width, made_channels)
    tiles = -(-height // 4) * -(-width // 4)  # of an image
    parts = -(-count // max(1, TILE_NUMBERS // (36 * tiles * channels)))
    images = -(-count // max(1, parts))
    # A row more than there are tiles: planes that lie a power of two apart would fall into the same few cache lines.
    rows = images * tiles + 1
    taken, products = x.new_zeros(36, rows, channels, dtype=torch.float32), weight.new_empty(36, rows, made_channels)
    for part, into in zip(x.split(images), made.split(images), strict=True):
        ops.images_to_tiles_(taken, part)
        torch.bmm(taken, weight, out=products)
        ops.tiles_to_images_(into, products)
    return made


def _tiles_are_faster(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether Winograd's form is: of 3 x 3 convolutions in float32 on CPUs. In 16 bits it loses as much as it saves."""
    return (
        weight.shape[2:] == (3, 3)
        and min(weight.shape[:2]) >= FEWEST_TILED
        and dtype == torch.float32
        and weight.device.type == "cpu"
        and ops.native_available("cpu")
    )


def _tiled(weight: Tensor) -> Tensor:
    """G g G^T of float64 weights g [O, I, 3, 3]: float32 [36, I, O]."""
    transform = weight.new_tensor([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
    return (transform @ weight @ transform.T).flatten(2).permute(2, 1, 0).float().contiguous()


def of_layer(conv: nn.Conv2d, dtype: torch.dtype, factor: float = 1.0) -> Convolution:
    """``factor`` times a convolution with padding for its own size."""
    weight, bias = _weights(conv)
    return Convolution.of(factor * weight, factor * bias, dtype, padding=conv.padding[0])


def of_patches(conv: nn.Conv2d, patch: int, dtype: torch.dtype) -> Convolution:
    """A convolution of unshuffled pixels in 0..1, for patches of bytes as ``ops.images_to_patches_`` makes them."""
    weight, bias = _weights(conv)
    blocks = weight.unflatten(1, (-1, patch * patch)).transpose(1, 2).flatten(1, 2)
    return Convolution.of(blocks / 255, bias, dtype, padding=conv.padding[0])


def after_unshuffle(conv: nn.Conv2d, dtype: torch.dtype) -> Convolution:
    """A pixel unshuffle by 2 and a 1 x 1 convolution."""
    weight, bias = _weights(conv)
    return Convolution.of(weight.flatten(1).unflatten(1, (-1, 2, 2)), bias, dtype, stride=2)


def before_shuffle(conv: nn.Conv2d, scale: int, dtype: torch.dtype) -> Convolution:
    """A convolution and a pixel shuffle."""
    weight, bias = (each.unflatten(0, (-1, scale * scale)).transpose(0, 1).flatten(0, 1) for each in _weights(conv))
    return Convolution.of(weight, bias, dtype, padding=conv.padding[0], scale=scale)


def after_upsampling(conv: nn.Conv2d, dtype: torch.dtype) -> Convolution:
    """Nearest upsampling by 2 and a 3 x 3 convolution with padding 1."""
    weight, bias = _weights(conv)

    def halves(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """Along a dimension the weights of the first and of the second pixel that come of one."""
        before, here, behind = weight.unbind(dim)
        return torch.stack([before, here + behind], dim), torch.stack([before + here, behind], dim)

    blocks = [block for rows in halves(weight, 2) for block in halves(rows, 3)]
    return Convolution.of(torch.cat(blocks), bias.repeat(4), dtype, padding=1, scale=2)


def four_pixels(conv: nn.Conv2d, dtype: torch.dtype) -> Convolution:
    """A 3 x 3 convolution with padding 1 of an image whose height and width are even, four pixels at once."""
    weight, bias = _weights(conv)
    blocks = [functional.pad(weight, (dx, 1 - dx, dy, 1 - dy)) for dy in (0, 1) for dx in (0, 1)]
    return Convolution.of(torch.cat(blocks), bias.repeat(4), dtype, stride=2, padding=1, scale=2)


def _weights(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weights and biases in float64."""
    weight = conv.weight.double()
    return weight, weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.double()
