"""The ops around the products of Winograd's convolution in plain PyTorch, as ``reference`` has the others."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from dimvida.ops import autoencoder_schemas  # noqa: F401 - declares the ops
from dimvida.ops.registration import implement

_REFERENCE = implement("CompositeExplicitAutograd")

# B^T and A^T of F(4 x 4, 3 x 3) in Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.
_WINOGRAD_IN = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_WINOGRAD_OUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


@_REFERENCE
def images_to_tiles_(tiles: Tensor, images: Tensor) -> None:  # [36, M, C], [N, H, W, C]
    if images.numel():
        height, width = images.shape[1:3]
        around = functional.pad(images.float(), (0, 0, 1, 1 + -width % 4, 1, 1 + -height % 4))
        d = around.unfold(1, 6, 4).unfold(2, 6, 4)  # [N, H / 4, W / 4, C, 6, 6]
        transform = d.new_tensor(_WINOGRAD_IN)
        t = (transform @ d @ transform.T).flatten(4).flatten(0, 2)  # [N H / 4 W / 4, C, 36]
        tiles[:, : len(t)] = t.permute(2, 0, 1)


@_REFERENCE
def tiles_to_images_(images: Tensor, tiles: Tensor) -> None:  # [N, H, W, C], [36, M, C]
    if images.numel():
        batch, height, width, _ = images.shape
        down, across = -(-height // 4), -(-width // 4)
        m = tiles[:, : batch * down * across].permute(1, 2, 0).unflatten(2, (6, 6))
        transform = m.new_tensor(_WINOGRAD_OUT)
        y = (transform @ m @ transform.T).unflatten(0, (batch, down, across))  # [N, H / 4, W / 4, C, 4, 4]
        images.copy_(y.permute(0, 1, 4, 2, 5, 3).flatten(3, 4).flatten(1, 2)[:, :height, :width])
