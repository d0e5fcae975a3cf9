"""The sampler's ops: the masked step of every solver, noise that belongs to a sample, the norms and activations of the
score networks, what stands between an autoencoder's convolutions, and the bytes of images.

Importing this package registers ``torch.ops.dimvida.*``. Each op has a signature with a check (``schemas``,
``token_schemas``, ``autoencoder_schemas``), a PyTorch reference (``reference``) and, where built, kernels for the CPU
and CUDA (``registration``); torch picks by the tensors' device.
"""

from __future__ import annotations

from dimvida.ops import native, reference
from dimvida.ops.autoencoder_schemas import (
    images_to_patches_,
    images_to_tiles_,
    patches_to_images_,
    residual_act_,
    residual_norm_silu_,
    tiles_to_images_,
)
from dimvida.ops.native import build_info, has_png_files, native_available, png_files, sha256_rows
from dimvida.ops.schemas import group_norm_silu_, masked_step_, pack_images, philox4x32, philox_normal_
from dimvida.ops.token_schemas import bias_gelu_, modulated_norm_

__all__ = [
    "bias_gelu_",
    "build_info",
    "group_norm_silu_",
    "has_png_files",
    "images_to_patches_",
    "images_to_tiles_",
    "masked_step_",
    "modulated_norm_",
    "native",
    "native_available",
    "pack_images",
    "patches_to_images_",
    "philox4x32",
    "philox_normal_",
    "png_files",
    "reference",
    "residual_act_",
    "residual_norm_silu_",
    "sha256_rows",
    "tiles_to_images_",
]
