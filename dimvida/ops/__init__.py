"""The sampler's ops: the masked step of every solver, noise that belongs to a sample, the norms and activations of the
score networks, what stands between an autoencoder's convolutions, and the bytes of images.

Importing this package registers ``torch.ops.dimvida.*``, and makes every op that the families here declare
(``steps``, ``norms``, ``convolutions``, ``images``) a function of this package. Each has a signature with a check, a
kernel in PyTorch (``reference.<op>``) and, where built, kernels for the CPU and CUDA (``registration``); torch picks by
the tensors' device.
"""

from __future__ import annotations

from dimvida.ops import convolutions, images, native, norms, registration, steps  # noqa: F401 - declare the ops
from dimvida.ops.native import build_info, has_png_files, native_available, png_files, sha256_rows
from dimvida.ops.registration import reference

globals().update(registration.PUBLIC)

__all__ = [
    "build_info",
    "has_png_files",
    "native",
    "native_available",
    "png_files",
    "reference",
    "sha256_rows",
    *registration.PUBLIC,
]
