"""Images on their way in and out of a model: what callers give, the autoencoder in parts that fit, finite numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dimvida.errors import InputError, NotFinite
from dimvida.models.autoencoder import Autoencoder

CPU_IMAGES = 32
"""Images that a CPU encodes or decodes at once. Activations of more do not stay in its caches, and need memory that
grows with the batch."""

GPU_IMAGES = 2048
"""Images that a GPU encodes or decodes at once: it is busy with fewer."""

LARGEST_ACTIVATION = 2**29
"""Numbers in one activation at most, which is what 2,048 images of 64 x 64 have in the paper's autoencoder: 2 GiB in
float32, and far from the 2^31 where 32-bit indices end."""


def require_tensor(name: str, value: Any, form: str) -> None:
    """Raise TypeError unless ``value`` is a tensor; ``form`` says which one is meant."""
    if not isinstance(value, Tensor):
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise TypeError(f"{name} must be a torch tensor, {form}, not {kind}; torch.as_tensor({name}) makes one of it")


def require_pixels(name: str, images: Tensor, shape: tuple[int, int, int], *, floating: bool) -> None:
    """Raise ValueError unless they are images [..., C, H, W] of that shape, uint8 or, if allowed, float."""
    fits = images.dtype == torch.uint8 or (floating and images.is_floating_point())
    if fits and tuple(images.shape[-3:]) == shape:
        return
    kinds = "uint8 or float" if floating else "uint8"
    hint = ""
    if tuple(images.shape[-3:]) == (*shape[1:], shape[0]):
        hint = f"; channels come first: {name}.movedim(-1, -3)"
    raise ValueError(f"{name} must be {kinds} [..., {_listed(shape)}], not {images.dtype} {list(images.shape)}{hint}")


def require_images(images: Any, shape: tuple[int, int, int]) -> None:
    """Raise TypeError or ValueError unless they are a tensor [..., C, H, W] of that shape, uint8 or float."""
    require_tensor("images", images, f"uint8 or float [..., {_listed(shape)}]")
    require_pixels("images", images, shape, floating=True)


def require_latents(latents: Any, dim: int) -> None:
    """Raise TypeError or ValueError unless they are a tensor float [..., D] of that D."""
    require_tensor("latents", latents, f"float [..., {dim}]")
    if tuple(latents.shape[-1:]) != (dim,) or not latents.is_floating_point():
        raise ValueError(f"latents must be float [..., {dim}], not {latents.dtype} {list(latents.shape)}")


def arrange(
    views: Tensor, known: Tensor | str | Sequence[str], names: tuple[str, ...], shape: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    """All views of every object, and which of them are known.

    Args:
        views: uint8 [B, V, C, H, W]. With n names in place of a mask also [B, n, C, H, W], the named views in that
            order, and with one name [B, C, H, W].
        known: bool [B, V]; or the name of the known view of every object, or several names.
        names: Names of the model's V views.
        shape: C, H and W of an image.

    Returns:
        views uint8 [B, V, C, H, W], 0 where a view was not given; known bool [B, V], on the CPU if it was made here.

    Raises:
        TypeError: For names that are no strings.
        InputError: For a name that the model does not have.
        ValueError: ``views`` or ``known`` has another shape or dtype.
    """
    if isinstance(known, Tensor):
        if views.ndim != 5 or views.shape[1] != len(names):
            raise ValueError(misfit(views, len(names), shape))
        require_pixels("views", views, shape, floating=False)
        if known.dtype != torch.bool or known.shape != views.shape[:2]:
            raise ValueError(f"known must be bool {list(views.shape[:2])}, not {known.dtype} {list(known.shape)}")
        return views, known
    places = places_named(known, names)
    if views.ndim == 4 and len(places) == 1:
        views = views[:, None]
    if views.ndim != 5 or views.shape[1] not in (len(names), len(places)):
        raise ValueError(misfit(views, len(names), shape, len(places)))
    require_pixels("views", views, shape, floating=False)
    if len(places) == len(names) and places != sorted(places):
        raise ValueError(f"all views are named, so they must stand in the model's order: {', '.join(names)}")
    mask = torch.zeros(len(views), len(names), dtype=torch.bool, device="cpu")
    mask[:, places] = True
    if views.shape[1] == len(names):
        return views, mask
    everything = views.new_zeros(len(views), len(names), *shape)
    for column, place in enumerate(places):
        everything[:, place] = views[:, column]
    return everything, mask


def places_named(known: Any, names: tuple[str, ...]) -> list[int]:
    """Places of the views that a name, or several names, mean among those of a model.

    Raises:
        TypeError: They are no strings.
        InputError: The model has no such view, or a name comes twice.
    """
    given = (known,) if isinstance(known, str) else known
    if not isinstance(given, Sequence) or not all(isinstance(name, str) for name in given):
        raise TypeError(
            f"known must be a bool tensor [B, {len(names)}], or names of {', '.join(names)}, not "
            f"{type(known).__qualname__}; torch.as_tensor(known) makes a tensor of an array or a list"
        )
    for name in given:
        if name not in names:
            raise InputError(f"the model has no view {name!r}; it has {', '.join(names)}")
    if len(set(given)) != len(given):
        raise InputError(f"a view is named twice: {', '.join(given)}")
    return [names.index(name) for name in given]


def misfit(views: Tensor, count: int, shape: tuple[int, int, int], named: int | None = None) -> str:
    """What an error says of views of another form than those of ``count`` views, of which some may be ``named``."""
    forms = [f"[B, {count}, {_listed(shape)}]"]
    if named is not None and named != count:
        forms.append(f"[B, {named}, {_listed(shape)}] of the named views")
    if named == 1:
        forms.append(f"[B, {_listed(shape)}] of the named view")
    return f"views must be uint8 {', or '.join(forms)}, not {views.dtype} {list(views.shape)}"


def _listed(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))


def part_size(autoencoder: Autoencoder, device: torch.device) -> int:
    """Images that go through the autoencoder at once on a device; at least 1."""
    most = CPU_IMAGES if device.type == "cpu" else GPU_IMAGES
    return max(1, min(most, LARGEST_ACTIVATION // autoencoder.largest_activation))


def encode_in_parts(autoencoder: Autoencoder, images: Tensor) -> Tensor:
    """Raw latents float32 [N, D] of images [N, C, H, W], uint8 in 0..255 or float in [0, 1]."""
    dtype = _dtype(autoencoder)
    pixels = images.contiguous(memory_format=torch.channels_last)
    scale = 255 if pixels.dtype == torch.uint8 else 1
    parts = pixels.split(part_size(autoencoder, pixels.device)) if len(pixels) else ()
    raw = [autoencoder.encode((part.float() / scale).to(dtype)).float() for part in parts]
    # Not every layer takes an empty batch.
    return torch.cat(raw) if raw else _empty(pixels, autoencoder.config.latent_dim)


def decode_in_parts(autoencoder: Autoencoder, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Images float32 [N, C, H, W] in [0, 1] of raw latents [N, D], and whether each was finite before the clamp."""
    parts = raw.to(_dtype(autoencoder)).split(part_size(autoencoder, raw.device)) if len(raw) else ()
    images, finite = [], []
    for part in parts:
        made = autoencoder.decode(part).float()
        finite.append(torch.linalg.vector_norm(made, math.inf, dim=(1, 2, 3)).isfinite())
        images.append(made.clamp(0, 1))
    if images:
        return torch.cat(images), torch.cat(finite)
    return _empty(raw, *autoencoder.config.image_shape), _empty(raw).bool()


def _dtype(autoencoder: Autoencoder) -> torch.dtype:
    """What it computes in: float32, or what ``.half()`` and the like made of it."""
    return next(autoencoder.parameters()).dtype


def _empty(like: Tensor, *shape: int) -> Tensor:
    return like.new_empty(0, *shape, dtype=torch.float32)


def finite_rows(values: Tensor) -> Tensor:
    """Which rows of a batch hold neither NaN nor infinity, without waiting for the device.

    Args:
        values: float [B, ...].

    Returns:
        bool [B]; True for a row without elements.
    """
    return torch.isfinite(values).flatten(1).all(1) if values.ndim > 1 else torch.isfinite(values)


def places_of(mask: Tensor) -> Tensor:
    """Where a mask [B, V] is True, int64 places in [B * V] on the host."""
    return mask.cpu().flatten().nonzero()[:, 0]


def require_rows(what: str, finite: Tensor) -> None:
    """Raise unless every row is finite. Waits for the device.

    Args:
        what: ``latents`` or ``images``, for the message.
        finite: Whether each number is, or each row; bool, rows along the first dimension, or one row without any.

    Raises:
        NotFinite: With the rows that are not.
    """
    if not finite.all():
        rows = finite.reshape(len(finite) if finite.ndim else 1, -1).all(1)
        raise NotFinite(what, (~rows).nonzero().flatten().tolist())


def require_made(finite: Tensor) -> None:
    """Raise as ``require_rows`` does for what ``decode_views`` says of latents and images, bool [B, 2]; asks once."""
    if not finite.all():
        for what, rows in zip(("latents", "images"), finite.unbind(1), strict=True):
            require_rows(what, rows)
